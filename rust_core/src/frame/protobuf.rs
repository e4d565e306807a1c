//! Frames as columns, as `proto/feed.proto` describes them: a value in a column is the difference to the one before it,
//! so that a position of a dense fleet takes about 15 bytes.
//!
//! Written by hand: a dozen kinds of fields need no table, and the columns grow side by side without a copy.

use super::{Head, Left, MESSAGE_BYTES, Row, heading_cdeg};
use crate::fix::{NONE_I16, NONE_I32};

/// A position with all members and a long name: whoever has less left begins a new message.
const RESERVE_BYTES: usize = 1024;

// Field numbers of `Frame`.
const KIND: u32 = 1;
const EPOCH: u32 = 2;
const SEQ: u32 = 3;
const MORE: u32 = 4;
const NAMES: u32 = 5;
const DEVICES: u32 = 6;
const LEFT: u32 = 15;

/// Columns from field 6 on, in the order of their numbers, `LEFT` excepted.
const COLUMNS: usize = 9;
const KIND_SNAPSHOT: u64 = 1;
const KIND_MOVED: u64 = 2;

pub(super) fn render<'a>(
    head: Head<'_>,
    rows: impl Iterator<Item = Row<'a>>,
    left: impl Iterator<Item = Left<'a>>,
) -> Vec<Vec<u8>> {
    let mut finished = Vec::new();
    let mut message = Message::default();
    for row in rows {
        if message.is_full() {
            finished.push(std::mem::take(&mut message).finish(head, true));
        }
        message.push(&row);
    }
    for gone in left {
        if message.is_full() {
            finished.push(std::mem::take(&mut message).finish(head, true));
        }
        message.left.push_difference(gone.device_id);
    }
    if message.bytes() > 0 || matches!(head, Head::Snapshot { .. }) {
        finished.push(message.finish(head, false));
    }
    finished
}

#[derive(Default)]
struct Message {
    names: Vec<u8>,
    columns: [Column; COLUMNS],
    left: Column,
}

#[derive(Default)]
struct Column {
    bytes: Vec<u8>,
    last: i64,
    /// Whether any value was given; a column without one is left out.
    is_given: bool,
}

impl Message {
    /// What is held; a little more than what is written, since columns without a value are left out.
    fn bytes(&self) -> usize {
        self.names.len() + self.left.bytes.len() + self.columns.iter().map(|column| column.bytes.len()).sum::<usize>()
    }

    fn is_full(&self) -> bool {
        self.bytes() + RESERVE_BYTES > MESSAGE_BYTES
    }

    fn push(&mut self, row: &Row<'_>) {
        let fix = row.fix;
        let [device, fixed_at, lat, lon, accuracy, altitude, heading, speed, battery] = &mut self.columns;
        device.push_difference(row.device_id);
        fixed_at.push_difference(fix.fixed_at_millis);
        lat.push_difference(fix.lat_e7.into());
        lon.push_difference(fix.lon_e7.into());
        let small = |value: i16| (value != NONE_I16).then_some(u64::from(value.unsigned_abs()));
        accuracy.push_optional(small(fix.accuracy_dm));
        // Heights below 0 are rare and take as many bytes as those above.
        altitude.push_optional((fix.altitude_dm != NONE_I32).then(|| zigzag(fix.altitude_dm.into())));
        heading.push_optional(heading_cdeg(fix).and_then(|cdeg| u64::try_from(cdeg).ok()));
        speed.push_optional(small(fix.speed_cmps));
        battery.push_optional(small(fix.battery_permille));
        if row.is_new {
            self.push_name(row);
        }
    }

    fn push_name(&mut self, row: &Row<'_>) {
        let mut name = Vec::with_capacity(16 + row.name.as_str().len());
        push_key(&mut name, 1, 0);
        push_varint(&mut name, zigzag(row.device_id));
        push_bytes(&mut name, 2, row.name.as_str().as_bytes());
        push_bytes(&mut self.names, NAMES, &name);
    }

    fn finish(self, head: Head<'_>, more: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 128);
        let (kind, seq) = match head {
            Head::Snapshot { seq, .. } => (KIND_SNAPSHOT, seq),
            Head::Moved { seq } => (KIND_MOVED, seq),
        };
        push_key(&mut out, KIND, 0);
        push_varint(&mut out, kind);
        if let Head::Snapshot { epoch, .. } = head {
            push_bytes(&mut out, EPOCH, epoch.as_bytes());
        }
        push_key(&mut out, SEQ, 0);
        push_varint(&mut out, seq);
        if more {
            push_key(&mut out, MORE, 0);
            push_varint(&mut out, 1);
        }
        out.extend_from_slice(&self.names);
        let numbered = (DEVICES..).zip(&self.columns).chain([(LEFT, &self.left)]);
        for (number, column) in numbered.filter(|(_, column)| column.is_given) {
            push_bytes(&mut out, number, &column.bytes);
        }
        out
    }
}

impl Column {
    fn push_difference(&mut self, value: i64) {
        push_varint(&mut self.bytes, zigzag(value.wrapping_sub(self.last)));
        self.last = value;
        self.is_given = true;
    }

    /// 0 for none, else one more than the value.
    fn push_optional(&mut self, value: Option<u64>) {
        push_varint(&mut self.bytes, value.map_or(0, |value| value + 1));
        self.is_given |= value.is_some();
    }
}

/// A signed number as an unsigned one that is small where the number is near 0.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn push_key(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    push_varint(out, (number << 3 | wire_type).into());
}

fn push_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    push_key(out, number, 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[inline]
fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
