//! Scans the JSON text of a watcher's frames: counts positions and samples the fixes of a few.
//!
//! Parsing ten million positions a second would take the cores of the server under test. The text is searched for the
//! start of each position, and a few positions at random places of each received chunk are read.

use memchr::memmem;

use crate::random::Random;

/// One byte less than the longest start of a position.
const BORDER: usize = b"\"device\":".len() - 1;
const TYPE_AT: usize = b"{\"type\":\"".len();

/// Layout of positions in JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One object per position.
    #[default]
    Objects,
    /// One row per position, and a list of columns.
    Rows,
}

impl Layout {
    /// Returns the layout of a subprotocol.
    pub fn of(protocol: Option<&str>) -> Self {
        if protocol == Some("fleetwire.v1.rows") { Self::Rows } else { Self::Objects }
    }

    /// Byte patterns at the start of a position; the first row of a list differs from the others.
    fn beginnings(self) -> &'static [&'static [u8]] {
        match self {
            Self::Objects => &[b"\"device\":"],
            Self::Rows => &[b"[[\"", b",[\""],
        }
    }

    /// Byte patterns before a device's name, and between the name and the time.
    fn marks(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Objects => (b"\"device\":\"", b"\"timestamp\":"),
            Self::Rows => (b",[\"", b","),
        }
    }
}

/// Topic of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// All positions.
    Snapshot,
    /// Positions that moved.
    Moved,
    /// Heartbeat without positions.
    Heartbeat,
    /// Events, errors and unknown types.
    Other,
}

/// Device and time of one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Number at the end of the device's name.
    pub number: u64,
    /// Milliseconds since 1970.
    pub fixed_at_millis: i64,
}

/// Counts the positions of one frame whose text arrives in chunks.
#[derive(Debug, Default)]
pub struct TextScan {
    /// First bytes of the frame.
    head: [u8; TYPE_AT + 1],
    head_bytes: usize,
    /// Last bytes so far, in which a position may start.
    tail: [u8; BORDER],
    tail_bytes: usize,
    positions: u64,
}

impl TextScan {
    /// Adds the next chunk of the frame.
    pub fn add(&mut self, layout: Layout, chunk: &[u8]) {
        for &byte in chunk {
            let Some(slot) = self.head.get_mut(self.head_bytes) else { break };
            *slot = byte;
            self.head_bytes += 1;
        }
        for beginning in layout.beginnings() {
            self.positions += self.on_the_border(beginning, chunk);
            self.positions += u64::try_from(memmem::find_iter(chunk, beginning).count()).unwrap_or_default();
        }
        self.save_tail(chunk);
    }

    /// Returns the topic.
    pub fn topic(&self) -> Topic {
        match self.head.last() {
            Some(b'm') => Topic::Moved,
            Some(b's') => Topic::Snapshot,
            Some(b'h') => Topic::Heartbeat,
            _ => Topic::Other,
        }
    }

    /// Returns whether the text ends with the mark that the frame continues.
    pub fn has_more(&self) -> bool {
        self.tail.get(..self.tail_bytes).is_some_and(|tail| tail.ends_with(b"\":true}"))
    }

    /// Returns the number of positions so far.
    pub fn positions(&self) -> u64 {
        self.positions
    }

    /// Counts the positions whose start spans two chunks.
    fn on_the_border(&self, beginning: &[u8], chunk: &[u8]) -> u64 {
        let reach = beginning.len() - 1;
        let tail = self.tail.get(self.tail_bytes.saturating_sub(reach)..self.tail_bytes).unwrap_or_default();
        let mut border = [0; 2 * BORDER];
        let both = tail.iter().chain(chunk.iter().take(reach));
        let filled = border.iter_mut().zip(both).map(|(slot, &byte)| *slot = byte).count();
        u64::from(memmem::find(border.get(..filled).unwrap_or_default(), beginning).is_some())
    }

    fn save_tail(&mut self, chunk: &[u8]) {
        let mut bytes = Vec::with_capacity(2 * BORDER);
        if chunk.len() < BORDER {
            bytes.extend_from_slice(self.tail.get(..self.tail_bytes).unwrap_or_default());
        }
        bytes.extend_from_slice(chunk.get(chunk.len().saturating_sub(BORDER)..).unwrap_or_default());
        let last = bytes.get(bytes.len().saturating_sub(BORDER)..).unwrap_or_default();
        for (slot, &byte) in self.tail.iter_mut().zip(last) {
            *slot = byte;
        }
        self.tail_bytes = last.len();
    }
}

/// Returns the first position after a random place of the chunk; `None` if none is complete there.
pub fn sample(layout: Layout, chunk: &[u8], random: &mut Random) -> Option<Sample> {
    let (before_name, before_time) = layout.marks();
    let place = usize::try_from(random.below(u32::try_from(chunk.len()).unwrap_or(u32::MAX))).unwrap_or_default();
    let rest = chunk.get(place..)?;
    let rest = rest.get(memmem::find(rest, before_name)? + before_name.len()..)?;
    let name = rest.get(..memchr::memchr(b'"', rest)?)?;
    let rest = rest.get(name.len()..)?;
    // The time must be of the same position: names are short, and the time follows them.
    let time = memmem::find(rest.get(..64).unwrap_or(rest), before_time)? + before_time.len();
    let digits = rest.get(time..)?;
    let ends = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    Some(Sample {
        number: trailing_number(name)?,
        fixed_at_millis: str::from_utf8(digits.get(..ends)?).ok()?.parse().ok()?,
    })
}

/// Parses the number at the end of a device's name.
pub fn trailing_number(name: &[u8]) -> Option<u64> {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(name.get(name.len() - digits..)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUTS: [Layout; 2] = [Layout::Objects, Layout::Rows];

    fn frame(layout: Layout, positions: usize) -> Vec<u8> {
        let each: Vec<String> = (0..positions)
            .map(|number| {
                let time = 1_763_768_400_000 + number;
                match layout {
                    Layout::Objects => {
                        format!(r#"{{"device":"fleet-{number:05}","timestamp":{time},"latitude":48.1,"longitude":11}}"#)
                    }
                    Layout::Rows => format!(r#"["fleet-{number:05}",{time},48.1,11]"#),
                }
            })
            .collect();
        let columns = match layout {
            Layout::Objects => "",
            Layout::Rows => r#""columns":["device","timestamp","latitude","longitude"],"#,
        };
        format!(r#"{{"type":"moved","seq":7,{columns}"positions":[{}],"left":["a","b"]}}"#, each.join(",")).into_bytes()
    }

    #[test]
    fn positions_are_counted_however_the_frame_is_cut() {
        for layout in LAYOUTS {
            let frame = frame(layout, 23);
            for step in 1..=frame.len() {
                let mut scan = TextScan::default();
                for chunk in frame.chunks(step) {
                    scan.add(layout, chunk);
                }
                assert_eq!((scan.positions(), scan.topic()), (23, Topic::Moved), "{layout:?} cut every {step} bytes");
            }
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
            let mut scan = TextScan::default();
            scan.add(Layout::Objects, text.as_bytes());
            assert_eq!((scan.topic(), scan.has_more()), (topic, text.contains("more")), "{text}");
        }
    }

    #[test]
    fn samples_are_positions_of_the_frame_from_all_over_it() {
        for layout in LAYOUTS {
            let (frame, mut random) = (frame(layout, 50), Random::new(3));
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..500 {
                let Some(found) = sample(layout, &frame, &mut random) else { continue };
                assert_eq!(found.fixed_at_millis, 1_763_768_400_000 + i64::try_from(found.number).unwrap());
                seen.insert(found.number);
            }
            assert!(seen.len() > 45, "{layout:?} {seen:?}");
        }
    }

    #[test]
    fn a_piece_without_a_whole_position_has_no_sample() {
        let mut random = Random::new(3);
        for text in ["", "{", r#"{"type":"heartbeat"}"#, r#""device":"fleet-1","timestamp":17"#, r#""device":"a""#] {
            assert_eq!(sample(Layout::Objects, text.as_bytes(), &mut random), None, "{text}");
        }
    }

    #[test]
    fn a_subprotocol_says_how_positions_are_written() {
        assert_eq!(Layout::of(None), Layout::Objects);
        assert_eq!(Layout::of(Some("fleetwire.v1.json")), Layout::Objects);
        assert_eq!(Layout::of(Some("fleetwire.v1.rows")), Layout::Rows);
    }

    #[test]
    fn names_may_end_without_a_number() {
        assert_eq!(trailing_number(b"fleet-00042"), Some(42));
        assert_eq!(trailing_number(b"truck"), None);
    }
}
