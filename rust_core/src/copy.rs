//! Rows of `track_segment` in `PostgreSQL`'s binary COPY format.
//!
//! ```text
//! signature:  "PGCOPY\n\377\r\n\0"
//! flags:      int32 (0)
//! extension:  int32 (0 bytes)
//! row:
//!   fields:   int16 (14)
//!   14 times:
//!     size:   int32 (-1 for NULL, without a value)
//!     value:  as the type's binary form; arrays as in pg_array.rs
//! trailer:    int16 (-1)
//! ```
//!
//! The order of the fields is the order of the COPY's column list in `store/sql`, for `track_segment` and for
//! `track_merged`, whose `int4[]` columns are packed (`packed.rs`).

use crate::fix::{NONE_I16, NONE_I32};
use crate::packed;
use crate::pg_array::{HEADER_BYTES, INT2_OID, INT4_OID};
use crate::segment::Segment;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const FIELDS: i16 = 14;
/// 2000-01-01T00:00:00Z in milliseconds since 1970: where `PostgreSQL`'s timestamps start.
const POSTGRES_EPOCH_MILLIS: i64 = 946_684_800_000;
/// Field count, 14 sizes, and the values of the six fields that are no arrays.
const ROW_BYTES: usize = 2 + 14 * 4 + 4 + 4 + 8 + 8 + 8 + 8;
/// Size of an element of `int4[]` and of its size field.
const INT4_BYTES: usize = 8;
/// Size of an element of `int2[]` and of its size field.
const INT2_BYTES: usize = 6;

/// How the `int4` columns of a row are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As arrays, for `track_segment`.
    Plain,
    /// Packed, for `track_merged`.
    Packed,
}

/// Renders the segments; no bytes at all when there is none, because a COPY of nothing need not be sent.
pub fn render(segments: &[Segment<'_>], received_at_millis: i64) -> Vec<u8> {
    let bytes = segments.iter().map(row_bytes).sum();
    render_each(segments.iter().map(|segment| (segment, received_at_millis)), bytes, Form::Plain)
}

/// The same for segments received at different times, milliseconds since 1970.
pub fn render_rows(rows: &[(Segment<'_>, i64)], form: Form) -> Vec<u8> {
    let row_bytes = match form {
        Form::Plain => row_bytes,
        Form::Packed => packed_row_bytes,
    };
    let bytes = rows.iter().map(|(segment, _)| row_bytes(segment)).sum();
    render_each(rows.iter().map(|(segment, received_at_millis)| (segment, *received_at_millis)), bytes, form)
}

fn render_each<'a>(rows: impl ExactSizeIterator<Item = (&'a Segment<'a>, i64)>, bytes: usize, form: Form) -> Vec<u8> {
    if rows.len() == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(SIGNATURE.len() + 8 + bytes + 2);
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; 8]);
    for (segment, received_at_millis) in rows {
        push_row(&mut out, segment, received_at_millis, form);
    }
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out
}

/// Upper bound: a NULL takes less than a value.
fn row_bytes(segment: &Segment<'_>) -> usize {
    ROW_BYTES + 8 * HEADER_BYTES + segment.fixed_at_millis.len() * (4 * INT4_BYTES + 4 * INT2_BYTES)
}

fn packed_row_bytes(segment: &Segment<'_>) -> usize {
    let fixes = segment.fixed_at_millis.len();
    ROW_BYTES + 4 * packed::push_bytes(fixes) + 4 * (HEADER_BYTES + fixes * INT2_BYTES)
}

fn push_row(out: &mut Vec<u8>, segment: &Segment<'_>, received_at_millis: i64, form: Form) {
    // A group of batches is bounded far below 2^31 fixes; the saturated count would be refused by PostgreSQL.
    let fix_count = i32::try_from(segment.fixed_at_millis.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&FIELDS.to_be_bytes());
    push_i32(out, segment.tenant_id);
    push_i32(out, fix_count);
    push_i64(out, segment.device_id);
    push_timestamp(out, segment.first_at_millis);
    push_timestamp(out, segment.last_at_millis);
    push_timestamp(out, received_at_millis);
    let push_int4 = match form {
        Form::Plain => push_int4_array,
        Form::Packed => packed::push,
    };
    match form {
        Form::Plain => push_offsets(out, segment),
        Form::Packed => packed::push(out, &offsets(segment).collect::<Vec<_>>()),
    }
    push_int4(out, segment.lat_e7);
    push_int4(out, segment.lon_e7);
    push_int4(out, segment.altitude_dm);
    push_int2_array(out, segment.speed_cmps);
    push_int2_array(out, segment.heading_cdeg);
    push_int2_array(out, segment.accuracy_dm);
    push_int2_array(out, segment.battery_permille);
}

fn push_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&4_i32.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&8_i32.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

fn push_timestamp(out: &mut Vec<u8>, millis: i64) {
    push_i64(out, (millis - POSTGRES_EPOCH_MILLIS).saturating_mul(1_000));
}

fn push_offsets(out: &mut Vec<u8>, segment: &Segment<'_>) {
    let count = segment.fixed_at_millis.len();
    push_array_header(out, INT4_OID, count, 0, INT4_BYTES);
    push_full_int4(out, count, offsets(segment));
}

fn offsets(segment: &Segment<'_>) -> impl Iterator<Item = i32> {
    let first_at_millis = segment.first_at_millis;
    #[expect(clippy::cast_possible_truncation, reason = "within one day: at most 86,399,999 ms")]
    let offset = move |fixed_at_millis: &i64| (fixed_at_millis - first_at_millis) as i32;
    segment.fixed_at_millis.iter().map(offset)
}

fn push_int4_array(out: &mut Vec<u8>, values: &[i32]) {
    let nulls = values.iter().filter(|value| **value == NONE_I32).count();
    if nulls == values.len() {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        return;
    }
    push_array_header(out, INT4_OID, values.len(), nulls, INT4_BYTES);
    if nulls == 0 {
        push_full_int4(out, values.len(), values.iter().copied());
        return;
    }
    for value in values {
        if *value == NONE_I32 {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
        } else {
            push_i32(out, *value);
        }
    }
}

fn push_int2_array(out: &mut Vec<u8>, values: &[i16]) {
    let nulls = values.iter().filter(|value| **value == NONE_I16).count();
    if nulls == values.len() {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        return;
    }
    push_array_header(out, INT2_OID, values.len(), nulls, INT2_BYTES);
    if nulls == 0 {
        push_full_int2(out, values);
        return;
    }
    for value in values {
        if *value == NONE_I16 {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
        } else {
            let [high, low] = value.to_be_bytes();
            out.extend_from_slice(&[0, 0, 0, 2, high, low]);
        }
    }
}

/// `entry_bytes`: an element that is not NULL, with its size.
fn push_array_header(out: &mut Vec<u8>, oid: u32, count: usize, nulls: usize, entry_bytes: usize) {
    let size = HEADER_BYTES + (count - nulls) * entry_bytes + nulls * 4;
    for word in [size, 1, usize::from(nulls > 0), oid as usize, count, 1] {
        // Beyond 1 GB PostgreSQL refuses the field; saturating keeps this total.
        out.extend_from_slice(&i32::try_from(word).unwrap_or(i32::MAX).to_be_bytes());
    }
}

/// Whole words into room made at once, so that the compiler can use wide stores.
fn push_full_int4(out: &mut Vec<u8>, count: usize, values: impl Iterator<Item = i32>) {
    let start = out.len();
    out.resize(start + count * INT4_BYTES, 0);
    let Some(room) = out.get_mut(start..) else { return };
    for (entry, value) in room.chunks_exact_mut(INT4_BYTES).zip(values) {
        let word = (4_u64 << 32) | u64::from(value.cast_unsigned());
        entry.copy_from_slice(&word.to_be_bytes());
    }
}

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
mod tests {
    use super::*;
    use crate::batch::Columns;
    use crate::fix::Fix;
    use crate::pg_array::{read_int2, read_int4};
    use crate::segment::split;

    /// 2025-11-21T23:40:00Z, and the same in microseconds since 2000.
    const FIRST_AT_MILLIS: i64 = 1_763_768_400_000;
    const FIRST_AT_MICROS: i64 = 817_083_600_000_000;

    fn columns() -> Columns {
        let fix = Fix {
            fixed_at_millis: FIRST_AT_MILLIS,
            lat_e7: 481_371_540,
            lon_e7: -115_761_240,
            altitude_dm: NONE_I32,
            speed_cmps: 1_340,
            heading_cdeg: -8_900,
            accuracy_dm: NONE_I16,
            battery_permille: 800,
        };
        let mut columns = Columns::default();
        columns.push(fix);
        columns.push(Fix { fixed_at_millis: FIRST_AT_MILLIS + 1_000, speed_cmps: NONE_I16, ..fix });
        columns
    }

    fn hex(words: &[&str]) -> Vec<u8> {
        let digits: String = words.concat().chars().filter(|digit| !digit.is_whitespace()).collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn renders_the_golden_row() {
        let columns = columns();
        let mut segments = Vec::new();
        split(7, 300, &columns, &mut segments);
        let expected = hex(&[
            "5047434f50590aff0d0a00 00000000 00000000 000e",
            "00000004 00000007",                                       // tenant_id
            "00000004 00000002",                                       // fix_count
            "00000008 000000000000012c",                               // device_id
            &format!("00000008 {FIRST_AT_MICROS:016x}"),               // first_at
            &format!("00000008 {:016x}", FIRST_AT_MICROS + 1_000_000), // last_at
            &format!("00000008 {:016x}", FIRST_AT_MICROS + 2_500_000), // received_at
            "00000024 00000001 00000000 00000017 00000002 00000001",   // offset_millis
            "00000004 00000000 00000004 000003e8",
            "00000024 00000001 00000000 00000017 00000002 00000001", // lat_e7
            "00000004 1cb12594 00000004 1cb12594",
            "00000024 00000001 00000000 00000017 00000002 00000001", // lon_e7
            "00000004 f9199fa8 00000004 f9199fa8",
            "ffffffff",                                                                     // altitude_dm
            "0000001e 00000001 00000001 00000015 00000002 00000001 00000002 053c ffffffff", // speed_cmps
            "00000020 00000001 00000000 00000015 00000002 00000001",                        // heading_cdeg
            "00000002 dd3c 00000002 dd3c",
            "ffffffff",                                              // accuracy_dm
            "00000020 00000001 00000000 00000015 00000002 00000001", // battery_permille
            "00000002 0320 00000002 0320",
            "ffff",
        ]);
        assert_eq!(render(&segments, FIRST_AT_MILLIS + 2_500), expected);
    }

    #[test]
    fn renders_nothing_for_nothing() {
        assert!(render(&[], FIRST_AT_MILLIS).is_empty());
    }

    #[test]
    fn arrays_read_back() {
        let (mut four, mut two) = (Vec::new(), Vec::new());
        push_int4_array(&mut four, &[1, NONE_I32, -3]);
        push_int2_array(&mut two, &[NONE_I16, 5]);
        assert_eq!(read_int4(&four[4..]), Ok(vec![1, NONE_I32, -3]));
        assert_eq!(read_int2(&two[4..]), Ok(vec![NONE_I16, 5]));
    }
}
