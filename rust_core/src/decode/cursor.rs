//! The quick way through JSON of the usual shape.
//!
//! Nearly every batch is written by a program whose output looks alike: known members, plain text, plain numbers. The
//! cursor walks exactly that with comparisons against constants and gives up on anything else, so that the general
//! reader decides from the first byte what is wrong or merely unusual. Both put the same doubles into the same drafts,
//! hence the same fixes and the same rejects come out.

#![expect(clippy::inline_always, reason = "a call within the loop over the members costs a tenth of the whole")]

mod number;

use super::Limits;
use super::draft::Draft;
use super::envelope::{self, Envelope, Fixes, Key};
use crate::batch::Batch;
use crate::reject::Member;

/// Decodes a batch of the usual shape. `None` says nothing about the body but that it has to be read in full.
pub fn decode(body: &[u8], limits: Limits) -> Option<Batch> {
    let mut cursor = Cursor { rest: body };
    cursor.space();
    if cursor.is_at(b'[') {
        let fixes = cursor.fixes(limits)?;
        cursor.end()?;
        return fixes.finish(None, None).ok();
    }
    let envelope = cursor.envelope(limits)?;
    cursor.end()?;
    envelope.finish(limits).ok()
}

/// The bytes not read yet. After a method has returned `None` they are of no use.
struct Cursor<'body> {
    rest: &'body [u8],
}

impl<'body> Cursor<'body> {
    fn envelope(&mut self, limits: Limits) -> Option<Envelope> {
        let mut envelope = Envelope::new();
        let mut seen = 0_u16;
        self.take(b'{')?;
        loop {
            self.space();
            let key = Key::of(self.plain_text()?.as_bytes());
            self.separator(b':')?;
            let bit = match key {
                Key::Fix(member) => {
                    envelope.saw(member);
                    self.value(member, &mut envelope.single)?;
                    bit(member)
                }
                Key::Fixes => {
                    envelope.fixes = Some(Ok(self.fixes(limits)?));
                    1 << 12
                }
                Key::Device => {
                    envelope.device = envelope::device_name(self.plain_text()?, 0);
                    1 << 13
                }
                Key::Id => {
                    envelope.message_id = Ok(Some(self.id()?));
                    1 << 14
                }
                Key::Type => {
                    envelope.kind = envelope::kind(self.plain_text()?, 0);
                    1 << 15
                }
                Key::Unknown => return None,
            };
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            if self.is_last(b'}')? {
                return Some(envelope);
            }
        }
    }

    fn fixes(&mut self, limits: Limits) -> Option<Fixes> {
        // A copy whose address nobody takes stays in registers.
        let mut cursor = Cursor { rest: self.rest };
        cursor.take(b'[')?;
        let mut fixes = Fixes::with_room(cursor.rest.len(), limits);
        loop {
            if fixes.is_full() {
                return None;
            }
            cursor.space();
            let mut draft = Draft::default();
            cursor.fix(&mut draft)?;
            fixes.push(&draft);
            if cursor.is_last(b']')? {
                self.rest = cursor.rest;
                return Some(fixes);
            }
        }
    }

    #[inline(always)]
    fn fix(&mut self, draft: &mut Draft) -> Option<()> {
        let mut seen = 0_u16;
        self.take(b'{')?;
        loop {
            self.space();
            let member = self.member()?;
            if seen & bit(member) != 0 {
                return None;
            }
            seen |= bit(member);
            self.separator(b':')?;
            self.value(member, draft)?;
            if self.is_last(b'}')? {
                return Some(());
            }
        }
    }

    /// Takes the key of a fix. With its quotes a key is one or two words to compare.
    #[inline(always)]
    fn member(&mut self) -> Option<Member> {
        let rest = self.rest;
        let (member, rest) = match (rest.get(1)?, rest.get(2)?) {
            (b't', _) => (Member::Timestamp, rest.strip_prefix(br#""timestamp""#)?),
            (b'l', b'a') => (Member::Latitude, rest.strip_prefix(br#""latitude""#)?),
            (b'l', _) => (Member::Longitude, rest.strip_prefix(br#""longitude""#)?),
            (b'a', b'c') => (Member::Accuracy, rest.strip_prefix(br#""accuracy""#)?),
            (b'a', _) => (Member::Altitude, rest.strip_prefix(br#""altitude""#)?),
            (b'h', _) => (Member::Heading, rest.strip_prefix(br#""heading""#)?),
            (b's', _) => (Member::Speed, rest.strip_prefix(br#""speed""#)?),
            (b'b', _) => (Member::Battery, rest.strip_prefix(br#""battery""#)?),
            _ => return None,
        };
        self.rest = rest;
        Some(member)
    }

    #[inline(always)]
    fn value(&mut self, member: Member, draft: &mut Draft) -> Option<()> {
        if let Some((value, rest)) = number::read(self.rest) {
            self.rest = rest;
            draft.set(member, Some(value));
        } else if let Some(rest) = self.rest.strip_prefix(b"null") {
            // Browsers send it for what a device cannot measure.
            self.rest = rest;
        } else if member == Member::Timestamp {
            draft.set_time(self.plain_text()?);
        } else {
            return None;
        }
        Some(())
    }

    fn id(&mut self) -> Option<String> {
        if self.is_at(b'"') {
            return self.plain_text().map(str::to_owned);
        }
        let (_, rest) = number::read(self.rest)?;
        let text = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        envelope::integer_id(str::from_utf8(text).ok()?.parse().ok(), 0).ok()?
    }

    /// Takes text that stands for itself, without its quotes.
    #[inline(always)]
    fn plain_text(&mut self) -> Option<&'body str> {
        let (text, rest) = plain_text(self.rest)?;
        self.rest = rest;
        Some(text)
    }

    /// Takes what stands behind an element: whether it is the end of the container and not a comma.
    #[inline(always)]
    fn is_last(&mut self, close: u8) -> Option<bool> {
        self.space();
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *first == b',' {
            return Some(false);
        }
        (*first == close).then_some(true)
    }

    #[inline(always)]
    fn separator(&mut self, byte: u8) -> Option<()> {
        self.space();
        self.take(byte)?;
        self.space();
        Some(())
    }

    #[inline(always)]
    fn take(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    #[inline(always)]
    fn is_at(&self, byte: u8) -> bool {
        self.rest.first() == Some(&byte)
    }

    #[inline(always)]
    fn space(&mut self) {
        while let Some((b' ' | b'\n' | b'\r' | b'\t', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    fn end(&mut self) -> Option<()> {
        self.space();
        self.rest.is_empty().then_some(())
    }
}

#[inline(never)]
fn plain_text(quoted: &[u8]) -> Option<(&str, &[u8])> {
    let text = quoted.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    let (text, rest) = text.split_at_checked(end)?;
    Some((str::from_utf8(text).ok()?, rest.strip_prefix(b"\"")?))
}

const fn bit(member: Member) -> u16 {
    1 << member as u16
}
