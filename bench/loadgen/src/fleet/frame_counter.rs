//! Counts the positions of a watcher's frames: scans text as it arrives, parses Protobuf once it is complete.

use crate::fleet::protobuf_frame::ProtobufFrame;
use crate::fleet::text_scan::{self, Layout, Sample, TextScan, Topic};
use crate::fleet::ws_frame::{Chunk, Opcode};
use crate::random::Random;

/// Largest number of positions per frame whose delay is sampled.
const SAMPLES: usize = 8;
/// Some dozens of positions: longer chunks give more than one sample.
const BYTES_PER_SAMPLE: usize = 8 * 1024;

/// Counts of the frame that is being received.
#[derive(Debug, Default)]
pub struct FrameCounter {
    layout: Layout,
    scan: TextScan,
    /// Protobuf message received so far.
    message: Vec<u8>,
    bytes: u64,
    samples: Vec<Sample>,
}

/// Counts of a complete frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Topic.
    pub topic: Topic,
    /// Number of positions.
    pub positions: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Whether the frame continues in the next message.
    pub has_more: bool,
}

impl FrameCounter {
    /// Creates a counter for text in this layout.
    pub fn new(layout: Layout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Adds a chunk; returns the counts after the last chunk of a frame.
    pub fn add(&mut self, chunk: Chunk<'_>, random: &mut Random) -> Option<Frame> {
        if chunk.is_first {
            self.samples.clear();
            self.bytes = 0;
        }
        self.bytes += u64::try_from(chunk.bytes.len()).unwrap_or_default();
        match chunk.kind {
            Opcode::Text => self.add_text(chunk, random),
            Opcode::Binary if chunk.is_first && chunk.is_last => Some(self.parse_protobuf(chunk.bytes, random)),
            Opcode::Binary => {
                self.message.extend_from_slice(chunk.bytes);
                if !chunk.is_last {
                    return None;
                }
                let message = std::mem::take(&mut self.message);
                Some(self.parse_protobuf(&message, random))
            }
            Opcode::Continued | Opcode::Close | Opcode::Ping | Opcode::Other => None,
        }
    }

    /// Sampled positions of the last frame, if its topic is `moved`.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn add_text(&mut self, chunk: Chunk<'_>, random: &mut Random) -> Option<Frame> {
        self.scan.add(self.layout, chunk.bytes);
        if self.scan.topic() == Topic::Moved {
            let wanted = (1 + chunk.bytes.len() / BYTES_PER_SAMPLE).min(SAMPLES - self.samples.len());
            self.samples.extend((0..wanted).filter_map(|_| text_scan::sample(self.layout, chunk.bytes, random)));
        }
        let scan = chunk.is_last.then(|| std::mem::take(&mut self.scan))?;
        Some(Frame { topic: scan.topic(), positions: scan.positions(), bytes: self.bytes, has_more: scan.has_more() })
    }

    fn parse_protobuf(&mut self, message: &[u8], random: &mut Random) -> Frame {
        let Some(columns) = ProtobufFrame::parse(message) else {
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

    fn add_in_chunks(counter: &mut FrameCounter, kind: Opcode, message: &[u8], step: usize) -> Frame {
        let mut random = Random::new(1);
        let chunks = message.chunks(step).count();
        let mut frame = None;
        for (place, bytes) in message.chunks(step).enumerate() {
            assert_eq!(frame, None);
            let chunk = Chunk { kind, bytes, is_first: place == 0, is_last: place + 1 == chunks };
            frame = counter.add(chunk, &mut random);
        }
        frame.unwrap()
    }

    #[test]
    fn all_formats_are_counted_whole_and_in_chunks() {
        let mut counter = FrameCounter::default();
        for step in [1, 4, 1_000] {
            let rows = add_in_chunks(&mut FrameCounter::new(Layout::Rows), Opcode::Text, ROWS, step);
            assert_eq!((rows.topic, rows.positions), (Topic::Moved, 1));
            for (kind, message) in [(Opcode::Text, TEXT), (Opcode::Binary, &COLUMNS)] {
                let frame = add_in_chunks(&mut counter, kind, message, step);
                let bytes = u64::try_from(message.len()).unwrap();
                assert_eq!(frame, Frame { topic: Topic::Moved, positions: 1, bytes, has_more: false });
            }
            assert_eq!(counter.samples().len(), 1);
            assert_eq!(counter.samples()[0].fixed_at_millis, 1_000);
        }
    }
}
