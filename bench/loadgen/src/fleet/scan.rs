//! What a watcher reads in its frames: how many positions, and of a few of them which fix it is.
//!
//! Ten million positions a second cannot be parsed beside the server under test. So the text is only searched for the
//! member that every position has, and of each piece that came from the kernel a few positions, at random places, are read.

use memchr::memmem;

use crate::random::Random;

const MEMBER: &[u8] = b"\"device\":";
/// One byte less than the member: it cannot hold a whole one.
const BORDER: usize = MEMBER.len() - 1;
const TYPE_AT: usize = b"{\"type\":\"".len();
const TIME_MEMBER: &[u8] = b"\"timestamp\":";

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// All positions.
    Snapshot,
    /// Those that moved.
    Moved,
    /// Nothing moved.
    Heartbeat,
    /// Events, errors, and what is not known here.
    Other,
}

/// One position of a frame, by whose and of when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The digits at the end of the device's name.
    pub number: u64,
    /// Milliseconds since 1970.
    pub fixed_at_millis: i64,
}

/// Counts the positions of one frame whose text comes in pieces.
#[derive(Debug, Default)]
pub struct Scan {
    /// Its first bytes.
    head: [u8; TYPE_AT + 1],
    head_bytes: usize,
    /// The last bytes so far, in which a member may have begun.
    tail: [u8; BORDER],
    tail_bytes: usize,
    positions: u64,
}

impl Scan {
    /// Takes the next piece of the frame.
    pub fn take(&mut self, piece: &[u8]) {
        for &byte in piece {
            let Some(slot) = self.head.get_mut(self.head_bytes) else { break };
            *slot = byte;
            self.head_bytes += 1;
        }
        self.positions += self.on_the_border(piece);
        self.positions += u64::try_from(memmem::find_iter(piece, MEMBER).count()).unwrap_or_default();
        self.keep_tail(piece);
    }

    /// What the frame is about.
    pub fn topic(&self) -> Topic {
        match self.head.last() {
            Some(b'm') => Topic::Moved,
            Some(b's') => Topic::Snapshot,
            Some(b'h') => Topic::Heartbeat,
            _ => Topic::Other,
        }
    }

    /// Whether the text so far ends by saying that more messages belong to it.
    pub fn has_more(&self) -> bool {
        self.tail.get(..self.tail_bytes).is_some_and(|tail| tail.ends_with(b"\":true}"))
    }

    /// Positions so far.
    pub fn positions(&self) -> u64 {
        self.positions
    }

    /// Members that begin in the piece before and end in this one.
    fn on_the_border(&self, piece: &[u8]) -> u64 {
        if self.tail_bytes == 0 {
            return 0;
        }
        let mut border = Vec::with_capacity(2 * BORDER);
        border.extend_from_slice(self.tail.get(..self.tail_bytes).unwrap_or_default());
        border.extend_from_slice(piece.get(..BORDER).unwrap_or(piece));
        u64::from(memmem::find(&border, MEMBER).is_some())
    }

    fn keep_tail(&mut self, piece: &[u8]) {
        let mut kept = Vec::with_capacity(2 * BORDER);
        if piece.len() < BORDER {
            kept.extend_from_slice(self.tail.get(..self.tail_bytes).unwrap_or_default());
        }
        kept.extend_from_slice(piece.get(piece.len().saturating_sub(BORDER)..).unwrap_or_default());
        let last = kept.get(kept.len().saturating_sub(BORDER)..).unwrap_or_default();
        for (slot, &byte) in self.tail.iter_mut().zip(last) {
            *slot = byte;
        }
        self.tail_bytes = last.len();
    }
}

/// A position of the piece, the first one behind a random place; `None` if none is whole there.
pub fn sample(piece: &[u8], random: &mut Random) -> Option<Sample> {
    let place = usize::try_from(random.below(u32::try_from(piece.len()).unwrap_or(u32::MAX))).unwrap_or_default();
    let rest = piece.get(place..)?;
    let rest = rest.get(memmem::find(rest, MEMBER)? + MEMBER.len() + 1..)?;
    let name = rest.get(..memchr::memchr(b'"', rest)?)?;
    let rest = rest.get(name.len()..)?;
    // The member must be this position's: names are short, and the time stands next to them.
    let time = memmem::find(rest.get(..64).unwrap_or(rest), TIME_MEMBER)? + TIME_MEMBER.len();
    let digits = rest.get(time..)?;
    let ends = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    Some(Sample {
        number: trailing_number(name)?,
        fixed_at_millis: str::from_utf8(digits.get(..ends)?).ok()?.parse().ok()?,
    })
}

/// The number that a device's name ends with.
pub fn trailing_number(name: &[u8]) -> Option<u64> {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(name.get(name.len() - digits..)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(positions: usize) -> Vec<u8> {
        let each: Vec<String> = (0..positions)
            .map(|number| {
                format!(
                    r#"{{"device":"fleet-{number:05}","timestamp":{},"latitude":48.1,"longitude":11.5}}"#,
                    1_763_768_400_000 + number
                )
            })
            .collect();
        format!(r#"{{"type":"moved","seq":7,"positions":[{}]}}"#, each.join(",")).into_bytes()
    }

    #[test]
    fn positions_are_counted_however_the_frame_is_cut() {
        let frame = frame(23);
        for step in 1..=frame.len() {
            let mut scan = Scan::default();
            for piece in frame.chunks(step) {
                scan.take(piece);
            }
            assert_eq!((scan.positions(), scan.topic()), (23, Topic::Moved), "cut every {step} bytes");
        }
    }

    #[test]
    fn topics_are_known_by_their_type() {
        for (text, topic) in [
            (r#"{"type":"snapshot","positions":[],"more":true}"#, Topic::Snapshot),
            (r#"{"type":"snapshot","epoch":"x"}"#, Topic::Snapshot),
            (r#"{"type":"heartbeat"}"#, Topic::Heartbeat),
            (r#"{"type":"resync"}"#, Topic::Other),
            ("{}", Topic::Other),
        ] {
            let mut scan = Scan::default();
            scan.take(text.as_bytes());
            assert_eq!((scan.topic(), scan.has_more()), (topic, text.contains("more")), "{text}");
        }
    }

    #[test]
    fn samples_are_positions_of_the_frame_from_all_over_it() {
        let (frame, mut random) = (frame(50), Random::new(3));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let Some(found) = sample(&frame, &mut random) else { continue };
            assert_eq!(found.fixed_at_millis, 1_763_768_400_000 + i64::try_from(found.number).unwrap());
            seen.insert(found.number);
        }
        assert!(seen.len() > 45, "{seen:?}");
    }

    #[test]
    fn a_piece_without_a_whole_position_has_no_sample() {
        let mut random = Random::new(3);
        for text in ["", "{", r#"{"type":"heartbeat"}"#, r#""device":"fleet-1","timestamp":17"#, r#""device":"a""#] {
            assert_eq!(sample(text.as_bytes(), &mut random), None, "{text}");
        }
    }

    #[test]
    fn names_may_end_without_a_number() {
        assert_eq!(trailing_number(b"fleet-00042"), Some(42));
        assert_eq!(trailing_number(b"truck"), None);
    }
}
