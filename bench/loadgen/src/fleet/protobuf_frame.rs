//! Parses the counted parts of a Protobuf frame (`proto/feed.proto`): kind, number of positions, time of one of them.

use crate::fleet::text_scan::{Sample, Topic};
use crate::random::Random;

/// Field numbers of `Frame`.
const KIND: u64 = 1;
const MORE: u64 = 4;
const DEVICES: u64 = 6;
const FIXED_AT: u64 = 7;

/// Stands for a device without a known name: these frames have numbers of the server instead.
const UNKNOWN_DEVICE: u64 = u64::MAX;

/// Parsed parts of a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct ProtobufFrame<'a> {
    /// Topic.
    pub topic: Topic,
    /// Whether the snapshot continues in the next message.
    pub has_more: bool,
    devices: &'a [u8],
    fixed_at: &'a [u8],
}

impl<'a> ProtobufFrame<'a> {
    /// Parses a message; `None` if it is malformed.
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut found = Self { topic: Topic::Other, has_more: false, devices: &[], fixed_at: &[] };
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            match (key >> 3, key & 7) {
                (KIND, 0) => {
                    found.topic = match varint(&mut bytes)? {
                        1 => Topic::Snapshot,
                        2 => Topic::Moved,
                        _ => Topic::Other,
                    };
                }
                (MORE, 0) => found.has_more = varint(&mut bytes)? != 0,
                (_, 0) => drop(varint(&mut bytes)?),
                (field, 2) => {
                    let length = usize::try_from(varint(&mut bytes)?).ok()?;
                    let (content, rest) = bytes.split_at_checked(length)?;
                    bytes = rest;
                    match field {
                        DEVICES => found.devices = content,
                        FIXED_AT => found.fixed_at = content,
                        _ => {}
                    }
                }
                _ => return None,
            }
        }
        Some(found)
    }

    /// Counts the positions: the last byte of each varint lacks the highest bit.
    pub fn positions(&self) -> u64 {
        u64::try_from(self.devices.iter().filter(|&&byte| byte < 0x80).count()).unwrap_or_default()
    }

    /// Returns the time of a random position.
    pub fn sample(&self, random: &mut Random) -> Option<Sample> {
        let wanted = random.below(u32::try_from(self.positions()).ok()?);
        let (mut rest, mut fixed_at_millis) = (self.fixed_at, 0_i64);
        for _ in 0..=wanted {
            fixed_at_millis = fixed_at_millis.checked_add(zigzag(varint(&mut rest)?))?;
        }
        Some(Sample { number: UNKNOWN_DEVICE, fixed_at_millis })
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `moved` frame of three devices, with a column that is not looked at.
    const FRAME: [u8; 24] = [
        0x08, 0x02, // kind: moved
        0x18, 0xAC, 0x02, // seq: 300
        0x20, 0x01, // more
        0x32, 0x04, 0x90, 0x01, 0x02, 0x02, // devices: 72, 73, 74
        0x3A, 0x04, 0xD0, 0x0F, 0x02, 0x03, // fixed at 1000, 1001, 999
        0x42, 0x03, 0x02, 0x02, 0x02, // latitudes
    ];

    #[test]
    fn a_frame_is_read_as_the_schema_says() {
        let found = ProtobufFrame::parse(&FRAME).unwrap();
        assert_eq!((found.topic, found.has_more, found.positions()), (Topic::Moved, true, 3));
        let mut random = Random::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            seen.insert(found.sample(&mut random).unwrap().fixed_at_millis);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [999, 1_000, 1_001]);
    }

    #[test]
    fn what_is_cut_off_is_no_frame() {
        for ends in 8..FRAME.len() {
            let whole = [13, 19].contains(&ends);
            assert_eq!(ProtobufFrame::parse(&FRAME[..ends]).is_some(), whole, "{ends}");
        }
        assert_eq!(ProtobufFrame::parse(&[0x0D, 1, 2, 3, 4]), None);
    }

    #[test]
    fn a_frame_without_positions_has_no_sample() {
        let found = ProtobufFrame::parse(&FRAME[..7]).unwrap();
        assert_eq!((found.positions(), found.sample(&mut Random::new(1))), (0, None));
    }
}
