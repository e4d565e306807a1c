//! Batches as `MessagePack`: the members and types of JSON. Keys that are no strings are skipped with their values;
//! `bin` and `ext` are no text and no number.

mod cursor;

use rmp::Marker;

use self::cursor::{Cursor, is_array, is_integer, is_map, is_str};
use super::draft::{Draft, member_of};
use super::envelope::{self, Envelope, Fixes, Key, Slot};
use super::{BatchError, BatchFault, Limits, MAX_DEPTH};
use crate::batch::Batch;
use crate::reject::Member;

/// Decodes an envelope, a bare array of fixes, or a single fix.
///
/// # Errors
/// The envelope cannot be read; a fault of one fix is in the batch's rejects instead.
pub fn decode(body: &[u8], limits: Limits) -> Result<Batch, BatchError> {
    if body.is_empty() {
        return Err(BatchFault::BodyEmpty.whole());
    }
    let mut reader = Reader { cursor: Cursor::new(body), body_bytes: body.len(), limits };
    match reader.cursor.peek()? {
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let envelope = reader.envelope()?;
            reader.cursor.finish()?;
            envelope.finish(limits)
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let fixes = reader.fixes()?;
            reader.cursor.finish()?;
            fixes.finish(None, None)
        }
        _ => {
            reader.cursor.skip(MAX_DEPTH)?;
            reader.cursor.finish()?;
            Err(BatchFault::BatchShape.whole())
        }
    }
}

struct Reader<'body> {
    cursor: Cursor<'body>,
    body_bytes: usize,
    limits: Limits,
}

impl Reader<'_> {
    fn envelope(&mut self) -> Result<Envelope, BatchError> {
        let mut envelope = Envelope::new();
        for _ in 0..self.cursor.map_len()? {
            let key = self.cursor.key()?.map_or(Key::Unknown, Key::of);
            let offset_bytes = self.cursor.offset_bytes();
            match key {
                Key::Fixes => {
                    envelope.fixes = Some(if is_array(self.cursor.peek()?) {
                        Ok(self.fixes()?)
                    } else {
                        self.cursor.skip(MAX_DEPTH)?;
                        Err(BatchFault::FixesType.at(offset_bytes))
                    });
                }
                Key::Device => envelope.device = self.device()?,
                Key::Id => envelope.message_id = self.message_id()?,
                Key::Type => envelope.kind = self.kind()?,
                Key::Fix(member) => {
                    envelope.saw(member);
                    self.member(member, &mut envelope.single)?;
                }
                Key::Unknown => self.cursor.skip(MAX_DEPTH)?,
            }
        }
        Ok(envelope)
    }

    fn fixes(&mut self) -> Result<Fixes, BatchError> {
        let claimed = self.cursor.array_len()?;
        let mut fixes = Fixes::with_room(self.body_bytes, self.limits);
        for _ in 0..claimed {
            if fixes.is_full() {
                return Err(BatchFault::BatchTooLarge.at(self.cursor.offset_bytes()));
            }
            if is_map(self.cursor.peek()?) {
                fixes.push(&self.fix()?);
            } else {
                self.cursor.skip(MAX_DEPTH)?;
                fixes.push_stranger();
            }
        }
        Ok(fixes)
    }

    #[inline]
    fn fix(&mut self) -> Result<Draft, BatchError> {
        let mut draft = Draft::default();
        for _ in 0..self.cursor.map_len()? {
            match self.cursor.key()?.and_then(member_of) {
                Some(member) => self.member(member, &mut draft)?,
                None => self.cursor.skip(MAX_DEPTH)?,
            }
        }
        Ok(draft)
    }

    #[inline]
    fn member(&mut self, member: Member, draft: &mut Draft) -> Result<(), BatchError> {
        match self.cursor.peek()? {
            Marker::F64 => draft.set(member, Some(self.cursor.double()?)),
            Marker::F32 => draft.set(member, Some(self.cursor.single()?.into())),
            marker if is_integer(marker) => draft.set(member, Some(self.cursor.integer_as_double()?)),
            Marker::Null => {
                self.cursor.skip(MAX_DEPTH)?;
                draft.set(member, None);
            }
            marker if is_str(marker) && member == Member::Timestamp => {
                // Bytes that are no text are no time either: a bad fix, not a bad batch.
                draft.set_time(str::from_utf8(self.cursor.str_bytes()?).unwrap_or_default());
            }
            _ => {
                self.cursor.skip(MAX_DEPTH)?;
                draft.set_wrong_type(member);
            }
        }
        Ok(())
    }

    fn device(&mut self) -> Result<Slot<Option<String>>, BatchError> {
        let offset_bytes = self.cursor.offset_bytes();
        Ok(match self.cursor.peek()? {
            marker if is_str(marker) => envelope::device_name(self.cursor.text()?, offset_bytes),
            Marker::Null => self.cursor.skip(MAX_DEPTH).map(|()| Ok(None))?,
            _ => self.cursor.skip(MAX_DEPTH).map(|()| Err(BatchFault::DeviceType.at(offset_bytes)))?,
        })
    }

    fn kind(&mut self) -> Result<Slot<()>, BatchError> {
        let offset_bytes = self.cursor.offset_bytes();
        Ok(match self.cursor.peek()? {
            marker if is_str(marker) => envelope::kind(self.cursor.text()?, offset_bytes),
            Marker::Null => self.cursor.skip(MAX_DEPTH).map(Ok)?,
            _ => self.cursor.skip(MAX_DEPTH).map(|()| Err(BatchFault::MessageType.at(offset_bytes)))?,
        })
    }

    fn message_id(&mut self) -> Result<Slot<Option<String>>, BatchError> {
        let offset_bytes = self.cursor.offset_bytes();
        Ok(match self.cursor.peek()? {
            marker if is_str(marker) => Ok(Some(self.cursor.text()?.to_owned())),
            marker if is_integer(marker) => envelope::integer_id(Some(self.cursor.integer()?), offset_bytes),
            Marker::Null => self.cursor.skip(MAX_DEPTH).map(|()| Ok(None))?,
            _ => self.cursor.skip(MAX_DEPTH).map(|()| Err(BatchFault::IdType.at(offset_bytes)))?,
        })
    }
}
