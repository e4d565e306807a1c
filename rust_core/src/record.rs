//! Arrays of rows in `PostgreSQL`'s binary form, as a parameter of a statement: what `array_recv()` and `record_recv()`
//! read.
//!
//! ```text
//! dimensions: int32 (0 for an empty array, which ends behind the element)
//! has_null:   int32 (0)
//! element:    oid   (of the rows' type)
//! length:     int32
//! lower:      int32 (1)
//! length times:
//!   size:     int32
//!   fields:   int32
//!   for each field:
//!     type:   oid
//!     size:   int32 (-1 for NULL, without a value)
//!     value:  as the type's binary form; `int2[]` as in pg_array.rs, `packed_int4` as in packed.rs
//! ```
//!
//! The fields are those of the type in its order. Rows of COPY differ in their head and have no types.

use crate::fix::{NONE_I16, NONE_I32};
use crate::live::Position;
use crate::packed;
use crate::pg_array::{HEADER_BYTES, INT2_ARRAY_OID, INT2_OID, INT4_OID};
use crate::segment::Segment;

const INT8_OID: u32 = 20;
const TIMESTAMPTZ_OID: u32 = 1184;
const SEGMENT_FIELDS: i16 = 14;
const POSITION_FIELDS: i16 = 11;
/// 2000-01-01T00:00:00Z in milliseconds since 1970: where `PostgreSQL`'s timestamps start.
const POSTGRES_EPOCH_MILLIS: i64 = 946_684_800_000;
/// Size and field count of a row, 14 types and sizes, and the values of the six fields that are no arrays.
const SEGMENT_BYTES: usize = 8 + 14 * 8 + 4 + 4 + 8 + 8 + 8 + 8;
/// The same of a position, whose values are 8 or less bytes long.
const POSITION_BYTES: usize = 8 + 11 * 8 + 3 * 8 + 4 * 4 + 4 * 2;
/// Size of an element of `int2[]` and of its size field.
const INT2_BYTES: usize = 6;

/// What the types of the schema are called in a database: each has numbers of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowTypes {
    /// Row type of the table.
    pub track_segment: u32,
    /// What a group says of a device.
    pub moved_position: u32,
    /// Type of columns.
    pub packed_int4: u32,
}

/// How a row is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For COPY: a short head, no types.
    Copy,
    /// As an element of an array.
    Record {
        /// Type of the packed columns.
        packed_int4: u32,
    },
}

/// An array of rows of `track_segment`, received at a time in milliseconds since 1970.
pub fn segments(segments: &[Segment<'_>], received_at_millis: i64, types: RowTypes) -> Vec<u8> {
    let bytes: usize = segments.iter().map(segment_bytes).sum();
    let mut out = array(types.track_segment, segments.len(), bytes);
    for segment in segments {
        push_segment(&mut out, segment, received_at_millis, Form::Record { packed_int4: types.packed_int4 });
    }
    out
}

/// An array of `moved_position`.
pub fn positions(positions: &[Position], received_at_millis: i64, types: RowTypes) -> Vec<u8> {
    let mut out = array(types.moved_position, positions.len(), positions.len() * POSITION_BYTES);
    let row = Row { form: Form::Record { packed_int4: types.packed_int4 } };
    for Position { tenant_id, device_id, fix } in positions {
        let start = row.begin(&mut out, POSITION_FIELDS);
        row.int4(&mut out, *tenant_id);
        row.int8(&mut out, *device_id);
        row.timestamp(&mut out, fix.fixed_at_millis);
        row.int4(&mut out, fix.lat_e7);
        row.int4(&mut out, fix.lon_e7);
        row.int4(&mut out, fix.altitude_dm);
        for value in [fix.speed_cmps, fix.heading_cdeg, fix.accuracy_dm, fix.battery_permille] {
            row.int2(&mut out, value);
        }
        row.timestamp(&mut out, received_at_millis);
        row.end(&mut out, start);
    }
    out
}

fn array(element: u32, length: usize, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + bytes);
    push_word(&mut out, i32::from(length > 0));
    push_word(&mut out, 0);
    push_word(&mut out, element.cast_signed());
    if length > 0 {
        push_size(&mut out, length);
        push_word(&mut out, 1);
    }
    out
}

/// An estimate that columns without leaps and without NULL meet.
pub(crate) fn segment_bytes(segment: &Segment<'_>) -> usize {
    let fixes = segment.fixed_at_millis.len();
    SEGMENT_BYTES + 4 * packed::usual_bytes(fixes) + 4 * (HEADER_BYTES + fixes * INT2_BYTES)
}

/// Appends a row of `track_segment` or `track_merged`.
pub(crate) fn push_segment(out: &mut Vec<u8>, segment: &Segment<'_>, received_at_millis: i64, form: Form) {
    let row = Row { form };
    let start = row.begin(out, SEGMENT_FIELDS);
    row.int4(out, segment.tenant_id);
    // A group of batches is bounded far below 2^31 fixes; the saturated count would be refused by PostgreSQL.
    row.int4(out, i32::try_from(segment.fixed_at_millis.len()).unwrap_or(i32::MAX));
    row.int8(out, segment.device_id);
    row.timestamp(out, segment.first_at_millis);
    row.timestamp(out, segment.last_at_millis);
    row.timestamp(out, received_at_millis);
    row.packed(out, offsets(segment));
    row.packed(out, segment.lat_e7.iter().copied());
    row.packed(out, segment.lon_e7.iter().copied());
    row.packed(out, segment.altitude_dm.iter().copied());
    for values in [segment.speed_cmps, segment.heading_cdeg, segment.accuracy_dm, segment.battery_permille] {
        row.int2_array(out, values);
    }
    row.end(out, start);
}

fn offsets(segment: &Segment<'_>) -> impl Iterator<Item = i32> + Clone {
    let first_at_millis = segment.first_at_millis;
    #[expect(clippy::cast_possible_truncation, reason = "within one day: at most 86,399,999 ms")]
    let offset = move |fixed_at_millis: &i64| (fixed_at_millis - first_at_millis) as i32;
    segment.fixed_at_millis.iter().map(offset)
}

/// Appends the fields of a row.
#[derive(Clone, Copy)]
struct Row {
    form: Form,
}

impl Row {
    /// Appends the head; what it returns goes to `end`.
    fn begin(self, out: &mut Vec<u8>, fields: i16) -> usize {
        let start = out.len();
        match self.form {
            Form::Copy => out.extend_from_slice(&fields.to_be_bytes()),
            Form::Record { .. } => {
                out.extend_from_slice(&[0; 4]); // the size is known at the end
                push_word(out, fields.into());
            }
        }
        start
    }

    fn end(self, out: &mut [u8], start: usize) {
        let size = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX).to_be_bytes();
        if let (Form::Record { .. }, Some(room)) = (self.form, out.get_mut(start..start + 4)) {
            room.copy_from_slice(&size);
        }
    }

    fn typed(self, out: &mut Vec<u8>, oid: u32) {
        if self.form != Form::Copy {
            push_word(out, oid.cast_signed());
        }
    }

    fn int2(self, out: &mut Vec<u8>, value: i16) {
        self.typed(out, INT2_OID);
        if value == NONE_I16 {
            push_word(out, -1);
        } else {
            push_word(out, 2);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    fn int4(self, out: &mut Vec<u8>, value: i32) {
        self.typed(out, INT4_OID);
        if value == NONE_I32 {
            push_word(out, -1);
        } else {
            push_word(out, 4);
            push_word(out, value);
        }
    }

    fn int8(self, out: &mut Vec<u8>, value: i64) {
        self.typed(out, INT8_OID);
        push_word(out, 8);
        out.extend_from_slice(&value.to_be_bytes());
    }

    fn timestamp(self, out: &mut Vec<u8>, millis: i64) {
        self.typed(out, TIMESTAMPTZ_OID);
        push_word(out, 8);
        out.extend_from_slice(&(millis - POSTGRES_EPOCH_MILLIS).saturating_mul(1_000).to_be_bytes());
    }

    fn packed(self, out: &mut Vec<u8>, values: impl Iterator<Item = i32> + Clone) {
        if let Form::Record { packed_int4 } = self.form {
            push_word(out, packed_int4.cast_signed());
        }
        packed::push(out, values);
    }

    fn int2_array(self, out: &mut Vec<u8>, values: &[i16]) {
        self.typed(out, INT2_ARRAY_OID);
        push_int2_array(out, values);
    }
}

fn push_word(out: &mut Vec<u8>, word: i32) {
    out.extend_from_slice(&word.to_be_bytes());
}

/// Beyond 1 GB `PostgreSQL` refuses the field; saturating keeps this total.
fn push_size(out: &mut Vec<u8>, size: usize) {
    push_word(out, i32::try_from(size).unwrap_or(i32::MAX));
}

fn push_int2_array(out: &mut Vec<u8>, values: &[i16]) {
    let nulls = values.iter().filter(|value| **value == NONE_I16).count();
    if nulls == values.len() {
        push_word(out, -1);
        return;
    }
    push_size(out, HEADER_BYTES + (values.len() - nulls) * INT2_BYTES + nulls * 4);
    for word in [1, i32::from(nulls > 0), INT2_OID.cast_signed()] {
        push_word(out, word);
    }
    push_size(out, values.len());
    push_word(out, 1);
    if nulls == 0 {
        push_full_int2(out, values);
        return;
    }
    for value in values {
        if *value == NONE_I16 {
            push_word(out, -1);
        } else {
            let [high, low] = value.to_be_bytes();
            out.extend_from_slice(&[0, 0, 0, 2, high, low]);
        }
    }
}

/// Whole entries into room made at once, so that the compiler can use wide stores.
fn push_full_int2(out: &mut Vec<u8>, values: &[i16]) {
    let start = out.len();
    out.resize(start + values.len() * INT2_BYTES, 0);
    let Some(room) = out.get_mut(start..) else { return };
    for (entry, value) in room.chunks_exact_mut(INT2_BYTES).zip(values) {
        let [high, low] = value.to_be_bytes();
        entry.copy_from_slice(&[0, 0, 0, 2, high, low]);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::batch::Columns;
    use crate::fix::Fix;
    use crate::pg_array::read_int2;
    use crate::segment::split;

    /// 2025-11-21T23:40:00Z, and the same in microseconds since 2000.
    const FIXED_AT_MILLIS: i64 = 1_763_768_400_000;
    const FIXED_AT_MICROS: i64 = 817_083_600_000_000;
    const TYPES: RowTypes = RowTypes { track_segment: 0x11, moved_position: 0x22, packed_int4: 0x33 };

    fn fix() -> Fix {
        Fix {
            fixed_at_millis: FIXED_AT_MILLIS,
            lat_e7: 481_371_540,
            lon_e7: -115_761_240,
            altitude_dm: NONE_I32,
            speed_cmps: 1_340,
            heading_cdeg: -8_900,
            accuracy_dm: NONE_I16,
            battery_permille: 800,
        }
    }

    /// Bytes from digits with spaces anywhere.
    pub(crate) fn hex(digits: &str) -> Vec<u8> {
        let digits: String = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn renders_the_golden_position() {
        let rows = positions(&[Position { tenant_id: 7, device_id: 300, fix: fix() }], FIXED_AT_MILLIS + 2_500, TYPES);
        let expected = format!(
            "00000001 00000000 00000022 00000001 00000001 00000086 0000000b
             00000017 00000004 00000007           00000014 00000008 000000000000012c
             000004a0 00000008 {FIXED_AT_MICROS:016x} 00000017 00000004 1cb12594 00000017 00000004 f9199fa8
             00000017 ffffffff  00000015 00000002 053c  00000015 00000002 dd3c
             00000015 ffffffff  00000015 00000002 0320  000004a0 00000008 {:016x}",
            FIXED_AT_MICROS + 2_500_000
        );
        assert_eq!(rows, hex(&expected));
    }

    #[test]
    fn a_segment_is_a_row_of_copy_with_types() {
        let mut columns = Columns::default();
        columns.push(fix());
        let mut parts = Vec::new();
        split(7, 300, &columns, &mut parts);
        let array = segments(&parts, FIXED_AT_MILLIS, TYPES);
        let mut copy = Vec::new();
        push_segment(&mut copy, &parts[0], FIXED_AT_MILLIS, Form::Copy);
        // 20 bytes of the array's head, then size and field count of the row.
        assert_eq!(array[20..24], u32::try_from(array.len() - 24).unwrap().to_be_bytes());
        let (mut typed, mut plain, mut oids) = (&array[28..], &copy[2..], Vec::new());
        while !typed.is_empty() {
            oids.push(u32::from_be_bytes(typed[..4].try_into().unwrap()));
            let size = i32::from_be_bytes(plain[..4].try_into().unwrap()).max(0).cast_unsigned() as usize + 4;
            assert_eq!(typed[4..4 + size], plain[..size]);
            (typed, plain) = (&typed[4 + size..], &plain[size..]);
        }
        assert!(plain.is_empty());
        assert_eq!(oids, [23, 23, 20, 1184, 1184, 1184, 0x33, 0x33, 0x33, 0x33, 1005, 1005, 1005, 1005]);
    }

    #[test]
    fn an_array_of_nothing_ends_behind_its_element() {
        assert_eq!(segments(&[], FIXED_AT_MILLIS, TYPES), hex("00000000 00000000 00000011"));
        assert_eq!(positions(&[], FIXED_AT_MILLIS, TYPES), hex("00000000 00000000 00000022"));
    }

    #[test]
    fn arrays_read_back() {
        let mut two = Vec::new();
        push_int2_array(&mut two, &[NONE_I16, 5]);
        assert_eq!(read_int2(&two[4..]), Ok(vec![NONE_I16, 5]));
    }
}
