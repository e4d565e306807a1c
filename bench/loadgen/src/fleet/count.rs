//! Counts the positions of a watcher's frames: text is searched as it comes, columns are read when they are whole.

use crate::fleet::columns::Columns;
use crate::fleet::scan::{self, Layout, Sample, Scan, Topic};
use crate::fleet::wire::{Kind, Piece};
use crate::random::Random;

/// Positions of a frame whose delay is taken, at most.
const SAMPLES: usize = 8;
/// Some dozens of positions: of a longer piece more than one is taken.
const BYTES_PER_SAMPLE: usize = 8 * 1024;

/// The frame that is coming in.
#[derive(Debug, Default)]
pub struct Count {
    layout: Layout,
    scan: Scan,
    /// A message of columns, as far as it came.
    message: Vec<u8>,
    bytes: u64,
    samples: Vec<Sample>,
}

/// A frame that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is about.
    pub topic: Topic,
    /// Positions in it.
    pub positions: u64,
    /// Bytes of its payload.
    pub bytes: u64,
    /// It goes on in the next message.
    pub has_more: bool,
}

impl Count {
    /// Nothing yet, of text that is written so.
    pub fn new(layout: Layout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Takes a piece of a frame, and returns the frame when that was the last.
    pub fn take(&mut self, piece: Piece<'_>, random: &mut Random) -> Option<Frame> {
        if piece.is_first {
            self.samples.clear();
            self.bytes = 0;
        }
        self.bytes += u64::try_from(piece.bytes.len()).unwrap_or_default();
        match piece.kind {
            Kind::Text => self.take_text(piece, random),
            Kind::Binary if piece.is_first && piece.is_last => Some(self.columns(piece.bytes, random)),
            Kind::Binary => {
                self.message.extend_from_slice(piece.bytes);
                if !piece.is_last {
                    return None;
                }
                let message = std::mem::take(&mut self.message);
                Some(self.columns(&message, random))
            }
            Kind::Continued | Kind::Close | Kind::Ping | Kind::Other => None,
        }
    }

    /// Some positions of the last frame, if it was of what moved.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn take_text(&mut self, piece: Piece<'_>, random: &mut Random) -> Option<Frame> {
        self.scan.take(self.layout, piece.bytes);
        if self.scan.topic() == Topic::Moved {
            let wanted = (1 + piece.bytes.len() / BYTES_PER_SAMPLE).min(SAMPLES - self.samples.len());
            self.samples.extend((0..wanted).filter_map(|_| scan::sample(self.layout, piece.bytes, random)));
        }
        let scan = piece.is_last.then(|| std::mem::take(&mut self.scan))?;
        Some(Frame { topic: scan.topic(), positions: scan.positions(), bytes: self.bytes, has_more: scan.has_more() })
    }

    fn columns(&mut self, message: &[u8], random: &mut Random) -> Frame {
        let Some(columns) = Columns::read(message) else {
            return Frame { topic: Topic::Other, positions: 0, bytes: self.bytes, has_more: false };
        };
        if columns.topic == Topic::Moved {
            self.samples.extend(columns.sample(random));
        }
        Frame { topic: columns.topic, positions: columns.positions(), bytes: self.bytes, has_more: columns.has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br#"{"type":"moved","seq":1,"positions":[{"device":"a-1","timestamp":5,"latitude":1}]}"#;
    const ROWS: &[u8] = br#"{"type":"moved","seq":1,"columns":["device","timestamp"],"positions":[["a-1",5]]}"#;
    /// `moved` with one device, fixed at 1000.
    const COLUMNS: [u8; 9] = [0x08, 0x02, 0x32, 0x01, 0x02, 0x3A, 0x02, 0xD0, 0x0F];

    fn take_in_pieces(count: &mut Count, kind: Kind, message: &[u8], step: usize) -> Frame {
        let mut random = Random::new(1);
        let pieces = message.chunks(step).count();
        let mut frame = None;
        for (place, bytes) in message.chunks(step).enumerate() {
            assert_eq!(frame, None);
            let piece = Piece { kind, bytes, is_first: place == 0, is_last: place + 1 == pieces };
            frame = count.take(piece, &mut random);
        }
        frame.unwrap()
    }

    #[test]
    fn all_formats_are_counted_whole_and_in_pieces() {
        let mut count = Count::default();
        for step in [1, 4, 1_000] {
            let rows = take_in_pieces(&mut Count::new(Layout::Rows), Kind::Text, ROWS, step);
            assert_eq!((rows.topic, rows.positions), (Topic::Moved, 1));
            for (kind, message) in [(Kind::Text, TEXT), (Kind::Binary, &COLUMNS)] {
                let frame = take_in_pieces(&mut count, kind, message, step);
                let bytes = u64::try_from(message.len()).unwrap();
                assert_eq!(frame, Frame { topic: Topic::Moved, positions: 1, bytes, has_more: false });
            }
            assert_eq!(count.samples().len(), 1);
            assert_eq!(count.samples()[0].fixed_at_millis, 1_000);
        }
    }
}
