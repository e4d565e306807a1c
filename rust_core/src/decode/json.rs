//! Batches as JSON (RFC 8259). `NaN`, `Infinity` and lone surrogates are errors of syntax; numbers of any length are
//! read as doubles, so that an integer of a million digits is merely out of range.

use jiter::{Jiter, JiterError, Peek};

use super::draft::{Draft, member_of};
use super::envelope::{self, Envelope, Fixes, Key, Slot};
use super::{BatchError, BatchFault, Limits, MAX_DEPTH, cursor};
use crate::batch::Batch;
use crate::reject::Member;

/// Decodes an envelope, a bare array of fixes, or a single fix.
///
/// # Errors
/// The envelope cannot be read; a fault of one fix is in the batch's rejects instead.
pub fn decode(body: &[u8], limits: Limits) -> Result<Batch, BatchError> {
    match cursor::decode(body, limits) {
        Some(batch) => Ok(batch),
        None => decode_any(body, limits),
    }
}

/// The same without the short cut: whatever the shape, and with every fault.
///
/// # Errors
/// As `decode`.
pub fn decode_any(body: &[u8], limits: Limits) -> Result<Batch, BatchError> {
    let mut reader = Reader { json: Jiter::new(body), body_bytes: body.len(), limits };
    // The only fault of a first look is that nothing follows the white space.
    let peek = reader.json.peek().map_err(|_| BatchFault::BodyEmpty.whole())?;
    match peek {
        Peek::Object => {
            let envelope = reader.envelope()?;
            reader.json.finish()?;
            envelope.finish(limits)
        }
        Peek::Array => {
            let fixes = reader.fixes()?;
            reader.json.finish()?;
            fixes.finish(None, None)
        }
        _ => {
            reader.skip(peek, MAX_DEPTH)?;
            reader.json.finish()?;
            Err(BatchFault::BatchShape.whole())
        }
    }
}

impl From<JiterError> for BatchError {
    #[cold]
    fn from(error: JiterError) -> Self {
        BatchFault::JsonSyntax.at(error.index)
    }
}

struct Reader<'body> {
    json: Jiter<'body>,
    body_bytes: usize,
    limits: Limits,
}

impl Reader<'_> {
    fn envelope(&mut self) -> Result<Envelope, BatchError> {
        let mut envelope = Envelope::new();
        let mut key = self.json.known_object()?.map(|key| Key::of(key.as_bytes()));
        while let Some(current) = key {
            let peek = self.json.peek()?;
            match current {
                Key::Fixes if peek == Peek::Array => envelope.fixes = Some(Ok(self.fixes()?)),
                Key::Fixes => {
                    envelope.fixes = Some(Err(BatchFault::FixesType.at(self.json.current_index())));
                    self.skip(peek, MAX_DEPTH)?;
                }
                Key::Device => envelope.device = self.device(peek)?,
                Key::Id => envelope.message_id = self.message_id(peek)?,
                Key::Type => envelope.kind = self.kind(peek)?,
                Key::Fix(member) => {
                    envelope.saw(member);
                    self.member(member, &mut envelope.single)?;
                }
                Key::Unknown => self.skip(peek, MAX_DEPTH)?,
            }
            key = self.json.next_key()?.map(|key| Key::of(key.as_bytes()));
        }
        Ok(envelope)
    }

    fn fixes(&mut self) -> Result<Fixes, BatchError> {
        let mut fixes = Fixes::with_room(self.body_bytes, self.limits);
        let mut next = self.json.known_array()?;
        while let Some(peek) = next {
            if fixes.is_full() {
                return Err(BatchFault::BatchTooLarge.at(self.json.current_index()));
            }
            if peek == Peek::Object {
                fixes.push(&self.fix()?);
            } else {
                self.skip(peek, MAX_DEPTH)?;
                fixes.push_stranger();
            }
            next = self.json.array_step()?;
        }
        Ok(fixes)
    }

    #[inline]
    fn fix(&mut self) -> Result<Draft, BatchError> {
        let mut draft = Draft::default();
        let mut key = self.json.known_object()?.map(|key| member_of(key.as_bytes()));
        while let Some(current) = key {
            if let Some(member) = current {
                self.member(member, &mut draft)?;
            } else {
                let peek = self.json.peek()?;
                self.skip(peek, MAX_DEPTH)?;
            }
            key = self.json.next_key()?.map(|key| member_of(key.as_bytes()));
        }
        Ok(draft)
    }

    #[inline]
    fn member(&mut self, member: Member, draft: &mut Draft) -> Result<(), BatchError> {
        let peek = self.json.peek()?;
        if peek.is_num() {
            // As a double at once: jiter's integers end at 18 digits. Too large for a double becomes infinite.
            draft.set(member, Some(self.json.known_float(peek)?));
        } else if peek == Peek::Null {
            self.json.known_null()?;
            draft.set(member, None);
        } else if peek == Peek::String && member == Member::Timestamp {
            draft.set_time(self.json.known_str()?);
        } else {
            self.skip(peek, MAX_DEPTH)?;
            draft.set_wrong_type(member);
        }
        Ok(())
    }

    fn device(&mut self, peek: Peek) -> Result<Slot<Option<String>>, BatchError> {
        let offset_bytes = self.json.current_index();
        Ok(match peek {
            Peek::String => envelope::device_name(self.json.known_str()?, offset_bytes),
            _ => self.other_than_text(peek)?.then_some(None).ok_or(BatchFault::DeviceType.at(offset_bytes)),
        })
    }

    fn kind(&mut self, peek: Peek) -> Result<Slot<()>, BatchError> {
        let offset_bytes = self.json.current_index();
        Ok(match peek {
            Peek::String => envelope::kind(self.json.known_str()?, offset_bytes),
            _ => self.other_than_text(peek)?.then_some(()).ok_or(BatchFault::MessageType.at(offset_bytes)),
        })
    }

    fn message_id(&mut self, peek: Peek) -> Result<Slot<Option<String>>, BatchError> {
        let offset_bytes = self.json.current_index();
        if peek == Peek::String {
            return Ok(Ok(Some(self.json.known_str()?.to_owned())));
        }
        if self.other_than_text(peek)? {
            return Ok(Ok(None));
        }
        let text = str::from_utf8(self.json.slice_to_current(offset_bytes)).unwrap_or_default();
        Ok(envelope::integer_id(text.parse().ok(), offset_bytes))
    }

    /// Skips a value; whether it was null, which stands for an absent member.
    fn other_than_text(&mut self, peek: Peek) -> Result<bool, BatchError> {
        self.skip(peek, MAX_DEPTH)?;
        Ok(peek == Peek::Null)
    }

    /// Walks over a value. Not jiter's own skip: that one lets invalid UTF-8 pass and fails at 4,300 digits.
    fn skip(&mut self, peek: Peek, levels: u8) -> Result<(), BatchError> {
        match peek {
            Peek::Null => self.json.known_null()?,
            Peek::True | Peek::False => drop(self.json.known_bool(peek)?),
            Peek::String => drop(self.json.known_str()?),
            Peek::Array => {
                let levels = self.deeper(levels)?;
                let mut next = self.json.known_array()?;
                while let Some(peek) = next {
                    self.skip(peek, levels)?;
                    next = self.json.array_step()?;
                }
            }
            Peek::Object => {
                let levels = self.deeper(levels)?;
                let mut has_next = self.json.known_object()?.is_some();
                while has_next {
                    let peek = self.json.peek()?;
                    self.skip(peek, levels)?;
                    has_next = self.json.next_key()?.is_some();
                }
            }
            _ if peek.is_num() => drop(self.json.known_float(peek)?),
            _ => return Err(BatchFault::JsonSyntax.at(self.json.current_index())),
        }
        Ok(())
    }

    fn deeper(&self, levels: u8) -> Result<u8, BatchError> {
        levels.checked_sub(1).ok_or_else(|| BatchFault::JsonDepth.at(self.json.current_index()))
    }
}
