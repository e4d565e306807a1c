//! Frames as text, in two shapes: an object for each position, or a row for each, below one list of columns.
//!
//! Members a sender left out are left out of objects; in rows they are null, and left out at a row's end.

use super::{Head, Left, MESSAGE_BYTES, Row, heading_cdeg, quoted};
use crate::decimal::{push_int, push_scaled};
use crate::fix::{Fix, NONE_I16, NONE_I32};

/// A position with all members and a long name: whoever has less left begins a new message.
const RESERVE_BYTES: usize = 1024;
/// The first message of a snapshot is longer than all others by this at least.
///
/// The server keeps a buffer for each socket that grows to what was sent; it doubles when a message is longer by a byte
/// than any before. If the first one is the longest, it never does.
const LEAD_BYTES: usize = 2 * RESERVE_BYTES;

/// What the places of a row are, in the order of `optional` behind the required ones.
const COLUMNS: &[u8] = concat!(
    r#","columns":["device","timestamp","latitude","longitude","#,
    r#""accuracy","altitude","heading","speed","battery"]"#
)
.as_bytes();

/// How positions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Objects,
    Rows,
}

pub(super) fn render<'a>(
    shape: Shape,
    head: Head<'_>,
    rows: impl Iterator<Item = Row<'a>>,
    left: impl Iterator<Item = Left<'a>>,
) -> Vec<Vec<u8>> {
    let is_snapshot = matches!(head, Head::Snapshot { .. });
    let lead_bytes = if is_snapshot { LEAD_BYTES } else { 0 };
    let mut writer = Writer { head: opening(shape, head), out: Vec::new(), items: 0, finished: Vec::new(), lead_bytes };
    let push = if shape == Shape::Rows { push_row } else { push_position };
    for row in rows {
        push(writer.item(b""), &row);
    }
    let mut has_list = false;
    for gone in left {
        // Of several messages each has its own list, behind its own positions.
        has_list &= !writer.is_full();
        let list: &[u8] = if has_list { b"" } else { br#"],"left":["# };
        has_list = true;
        gone.name.push_json(writer.item(list));
    }
    writer.finish(is_snapshot)
}

/// One message after another, each with the same head.
struct Writer {
    head: Vec<u8>,
    out: Vec<u8>,
    /// Members of the list that is written.
    items: usize,
    finished: Vec<Vec<u8>>,
    /// What the first message may be longer than the others.
    lead_bytes: usize,
}

impl Writer {
    fn is_full(&self) -> bool {
        let lead_bytes = if self.finished.is_empty() { self.lead_bytes } else { 0 };
        self.out.len() + RESERVE_BYTES + LEAD_BYTES > MESSAGE_BYTES + lead_bytes
    }

    /// Where the next member of a list is to be written; `opening` begins another list.
    fn item(&mut self, opening: &[u8]) -> &mut Vec<u8> {
        if self.is_full() {
            self.close(br#"],"more":true}"#);
        }
        if self.out.is_empty() {
            self.out.extend_from_slice(&self.head);
        }
        if !opening.is_empty() {
            self.out.extend_from_slice(opening);
            self.items = 0;
        }
        if self.items > 0 {
            self.out.push(b',');
        }
        self.items += 1;
        &mut self.out
    }

    fn close(&mut self, end: &[u8]) {
        self.out.extend_from_slice(end);
        self.finished.push(std::mem::take(&mut self.out));
        self.items = 0;
    }

    fn finish(mut self, even_if_empty: bool) -> Vec<Vec<u8>> {
        if self.out.is_empty() && even_if_empty {
            self.out.extend_from_slice(&self.head);
        }
        if !self.out.is_empty() {
            self.close(b"]}");
        }
        self.finished
    }
}

fn opening(shape: Shape, head: Head<'_>) -> Vec<u8> {
    let (mut out, seq) = match head {
        Head::Snapshot { epoch, seq } => {
            let mut out = br#"{"type":"snapshot","epoch":"#.to_vec();
            out.extend_from_slice(&quoted(epoch));
            (out, seq)
        }
        Head::Moved { seq } => (br#"{"type":"moved""#.to_vec(), seq),
    };
    out.extend_from_slice(br#","seq":"#);
    push_int(&mut out, i64::try_from(seq).unwrap_or(i64::MAX));
    if shape == Shape::Rows {
        out.extend_from_slice(COLUMNS);
    }
    out.extend_from_slice(br#","positions":["#);
    out
}

fn push_position(out: &mut Vec<u8>, row: &Row<'_>) {
    out.extend_from_slice(br#"{"device":"#);
    row.name.push_json(out);
    out.extend_from_slice(br#","timestamp":"#);
    push_int(out, row.fix.fixed_at_millis);
    out.extend_from_slice(br#","latitude":"#);
    push_scaled(out, row.fix.lat_e7.into(), 7);
    out.extend_from_slice(br#","longitude":"#);
    push_scaled(out, row.fix.lon_e7.into(), 7);
    push_optional(out, row.fix);
    out.push(b'}');
}

fn push_row(out: &mut Vec<u8>, row: &Row<'_>) {
    out.push(b'[');
    row.name.push_json(out);
    out.push(b',');
    push_int(out, row.fix.fixed_at_millis);
    out.push(b',');
    push_scaled(out, row.fix.lat_e7.into(), 7);
    out.push(b',');
    push_scaled(out, row.fix.lon_e7.into(), 7);
    let mut missing = 0;
    for (_, value, places) in optional(row.fix) {
        let Some(value) = value else {
            missing += 1;
            continue;
        };
        for _ in 0..missing {
            out.extend_from_slice(b",null");
        }
        missing = 0;
        out.push(b',');
        push_scaled(out, value, places);
    }
    out.push(b']');
}

/// The members a sender may leave out, each with a comma before it.
pub(super) fn push_optional(out: &mut Vec<u8>, fix: &Fix) {
    for (name, value, places) in optional(fix) {
        if let Some(value) = value {
            out.extend_from_slice(name);
            push_scaled(out, value, places);
        }
    }
}

/// What a sender may leave out, in the order of the wire: how the member begins, its value, and its decimal places.
fn optional(fix: &Fix) -> [(&'static [u8], Option<i64>, u32); 5] {
    let small = |value: i16| (value != NONE_I16).then_some(i64::from(value));
    let altitude = (fix.altitude_dm != NONE_I32).then_some(i64::from(fix.altitude_dm));
    [
        (br#","accuracy":"#, small(fix.accuracy_dm), 1),
        (br#","altitude":"#, altitude, 1),
        (br#","heading":"#, heading_cdeg(fix), 2),
        (br#","speed":"#, small(fix.speed_cmps), 2),
        (br#","battery":"#, small(fix.battery_permille), 3),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Name;
    use super::*;

    const FULL: Fix = Fix {
        fixed_at_millis: 1_763_768_400_000,
        lat_e7: 481_371_540,
        lon_e7: 115_761_240,
        altitude_dm: 5_190,
        speed_cmps: 1_340,
        heading_cdeg: -8_900,
        accuracy_dm: 50,
        battery_permille: 800,
    };
    const BARE: Fix = Fix {
        altitude_dm: NONE_I32,
        speed_cmps: NONE_I16,
        heading_cdeg: NONE_I16,
        accuracy_dm: NONE_I16,
        battery_permille: NONE_I16,
        ..FULL
    };

    fn one(head: Head<'_>, fix: Option<&Fix>, left: &[&str]) -> String {
        one_of(Shape::Objects, head, fix, left)
    }

    fn one_of(shape: Shape, head: Head<'_>, fix: Option<&Fix>, left: &[&str]) -> String {
        let name = Name::new("truck-7");
        let gone: Vec<Name> = left.iter().map(|name| Name::new(name)).collect();
        let rows = fix.map(|fix| Row { device_id: 7, name: &name, fix, is_new: true });
        let messages = render(shape, head, rows.into_iter(), gone.iter().map(|name| Left { device_id: 0, name }));
        assert_eq!(messages.len(), 1);
        String::from_utf8(messages.concat()).unwrap()
    }

    #[test]
    fn frames_are_spelt_as_the_contract_has_them() {
        assert_eq!(
            one(Head::Moved { seq: 1 }, Some(&FULL), &[]),
            concat!(
                r#"{"type":"moved","seq":1,"positions":[{"device":"truck-7","timestamp":1763768400000,"latitude":48.137154,"#,
                r#""longitude":11.576124,"accuracy":5,"altitude":519,"heading":271,"speed":13.4,"battery":0.8}]}"#
            )
        );
        assert_eq!(
            one(Head::Snapshot { epoch: "e\"1", seq: 0 }, Some(&BARE), &[]),
            concat!(
                r#"{"type":"snapshot","epoch":"e\"1","seq":0,"positions":[{"device":"truck-7","timestamp":1763768400000,"#,
                r#""latitude":48.137154,"longitude":11.576124}]}"#
            )
        );
        assert_eq!(
            one(Head::Moved { seq: 2 }, None, &["a", "b\""]),
            r#"{"type":"moved","seq":2,"positions":[],"left":["a","b\""]}"#
        );
    }

    #[test]
    fn nothing_to_say_is_an_empty_snapshot_and_no_movement() {
        assert_eq!(
            one(Head::Snapshot { epoch: "e", seq: 3 }, None, &[]),
            r#"{"type":"snapshot","epoch":"e","seq":3,"positions":[]}"#
        );
        assert!(render(Shape::Rows, Head::Moved { seq: 3 }, std::iter::empty(), std::iter::empty()).is_empty());
    }

    #[test]
    fn rows_are_spelt_as_the_contract_has_them() {
        let half = Fix { accuracy_dm: NONE_I16, heading_cdeg: NONE_I16, battery_permille: NONE_I16, ..FULL };
        let columns = String::from_utf8_lossy(COLUMNS);
        for (fix, row) in [
            (FULL, r#"["truck-7",1763768400000,48.137154,11.576124,5,519,271,13.4,0.8]"#),
            (half, r#"["truck-7",1763768400000,48.137154,11.576124,null,519,null,13.4]"#),
            (BARE, r#"["truck-7",1763768400000,48.137154,11.576124]"#),
        ] {
            assert_eq!(
                one_of(Shape::Rows, Head::Moved { seq: 1 }, Some(&fix), &["a"]),
                format!(r#"{{"type":"moved","seq":1{columns},"positions":[{row}],"left":["a"]}}"#)
            );
        }
    }
}
