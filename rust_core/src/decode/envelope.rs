//! What stands around the fixes, whatever the format.

use super::draft::{Draft, member_of};
use super::{BatchError, BatchFault, Limits, MAX_DEVICE_CHARS};
use crate::batch::{Batch, Columns};
use crate::name::is_name;
use crate::reject::{Fault, Member, Reject};

/// Bytes that a fix takes at least in practice, with the required members only.
const USUAL_FIX_BYTES: usize = 64;

/// What a key of the outermost object names.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Device,
    Fixes,
    Id,
    Type,
    Fix(Member),
    Unknown,
}

impl Key {
    pub(super) fn of(key: &[u8]) -> Self {
        match key {
            b"device" => Self::Device,
            b"fixes" => Self::Fixes,
            b"id" => Self::Id,
            b"type" => Self::Type,
            _ => member_of(key).map_or(Self::Unknown, Self::Fix),
        }
    }
}

/// The fixes read so far.
pub(super) struct Fixes {
    limits: Limits,
    sent: u32,
    columns: Columns,
    rejects: Vec<Reject>,
}

impl Fixes {
    /// Room for what `body_bytes` can hold, so that the columns are allocated once; never more than the limit.
    pub(super) fn with_room(body_bytes: usize, limits: Limits) -> Self {
        let room = usize::try_from(limits.max_fixes).unwrap_or(usize::MAX).min(body_bytes / USUAL_FIX_BYTES + 1);
        Self { limits, sent: 0, columns: Columns::with_capacity(room), rejects: Vec::new() }
    }

    /// Whether one more would be too many. Asked before a fix is read, so that a body of millions costs no more than
    /// the limit.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.sent >= self.limits.max_fixes
    }

    /// Takes one fix, or notes why it is refused.
    #[inline]
    pub(super) fn push(&mut self, draft: &Draft) {
        match draft.check(self.limits.window) {
            Ok(fix) => self.columns.push(fix),
            Err((member, fault)) => self.refuse(member, fault),
        }
        self.sent += 1;
    }

    /// Takes a value that is no fix at all.
    #[cold]
    pub(super) fn push_stranger(&mut self) {
        self.refuse(Member::Fix, Fault::Type);
        self.sent += 1;
    }

    #[cold]
    fn refuse(&mut self, member: Member, fault: Fault) {
        self.rejects.push(Reject { index: self.sent, member, fault });
    }

    pub(super) fn finish(self, device: Option<String>, message_id: Option<String>) -> Result<Batch, BatchError> {
        if self.sent == 0 {
            return Err(BatchFault::BatchEmpty.whole());
        }
        Ok(Batch { device, message_id, columns: self.columns, rejects: self.rejects })
    }
}

/// A member of the envelope as it was read. A fault waits here, because a later member of the same name replaces it.
pub(super) type Slot<T> = Result<T, BatchError>;

/// The outermost object, whose members may come in any order and more than once: the last one counts.
pub(super) struct Envelope {
    pub(super) kind: Slot<()>,
    pub(super) message_id: Slot<Option<String>>,
    pub(super) device: Slot<Option<String>>,
    pub(super) fixes: Option<Slot<Fixes>>,
    /// The members of a fix that stand in the envelope itself.
    pub(super) single: Draft,
    pub(super) is_single: bool,
}

impl Envelope {
    pub(super) fn new() -> Self {
        Self {
            kind: Ok(()),
            message_id: Ok(None),
            device: Ok(None),
            fixes: None,
            single: Draft::default(),
            is_single: false,
        }
    }

    /// Notes that a member of a fix stands in the envelope. One of the required members makes it a single fix.
    pub(super) fn saw(&mut self, member: Member) {
        self.is_single |= matches!(member, Member::Timestamp | Member::Latitude | Member::Longitude);
    }

    /// The batch, or the first fault in the order type, id, device, fixes.
    pub(super) fn finish(self, limits: Limits) -> Result<Batch, BatchError> {
        self.kind?;
        let message_id = self.message_id?;
        let device = self.device?;
        let fixes = match self.fixes {
            Some(fixes) => fixes?,
            None if self.is_single => {
                let mut fixes = Fixes::with_room(0, limits);
                if fixes.is_full() {
                    return Err(BatchFault::BatchTooLarge.whole());
                }
                fixes.push(&self.single);
                fixes
            }
            None => return Err(BatchFault::BatchShape.whole()),
        };
        fixes.finish(device, message_id)
    }
}

/// Checks a device's name. The value starts at `offset_bytes`.
pub(super) fn device_name(text: &str, offset_bytes: usize) -> Slot<Option<String>> {
    if !is_name(text, MAX_DEVICE_CHARS) {
        return Err(BatchFault::DeviceName.at(offset_bytes));
    }
    Ok(Some(text.to_owned()))
}

/// Checks `type`. The value starts at `offset_bytes`.
pub(super) fn kind(text: &str, offset_bytes: usize) -> Slot<()> {
    if text == "batch" { Ok(()) } else { Err(BatchFault::MessageType.at(offset_bytes)) }
}

/// The decimal text of an integer `id`; `None` is a value that is no integer. The value starts at `offset_bytes`.
pub(super) fn integer_id(value: Option<i128>, offset_bytes: usize) -> Slot<Option<String>> {
    match value {
        Some(value) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value) => Ok(Some(value.to_string())),
        _ => Err(BatchFault::IdType.at(offset_bytes)),
    }
}
