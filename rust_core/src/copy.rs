//! Rows of `track_segment` and `track_merged` in `PostgreSQL`'s binary COPY format.
//!
//! ```text
//! signature:  "PGCOPY\n\377\r\n\0"
//! flags:      int32 (0)
//! extension:  int32 (0 bytes)
//! row:
//!   fields:   int16 (14)
//!   14 times:
//!     size:   int32 (-1 for NULL, without a value)
//!     value:  as the type's binary form; `int2[]` as in pg_array.rs, `packed_int4` as in packed.rs
//! trailer:    int16 (-1)
//! ```
//!
//! The order of the fields is the order of the COPY's column list in `store/sql`. `track_merged` has the same columns.

use crate::fix::NONE_I16;
use crate::packed;
use crate::pg_array::{HEADER_BYTES, INT2_OID};
use crate::segment::Segment;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const FIELDS: i16 = 14;
/// 2000-01-01T00:00:00Z in milliseconds since 1970: where `PostgreSQL`'s timestamps start.
const POSTGRES_EPOCH_MILLIS: i64 = 946_684_800_000;
/// Field count, 14 sizes, and the values of the six fields that are no arrays.
const ROW_BYTES: usize = 2 + 14 * 4 + 4 + 4 + 8 + 8 + 8 + 8;
/// Size of an element of `int2[]` and of its size field.
const INT2_BYTES: usize = 6;

/// Renders the segments; no bytes at all when there is none, because a COPY of nothing need not be sent.
pub fn render(segments: &[Segment<'_>], received_at_millis: i64) -> Vec<u8> {
    render_each(segments.iter().map(|segment| (segment, received_at_millis)))
}

/// The same for segments received at different times, milliseconds since 1970.
pub fn render_rows(rows: &[(Segment<'_>, i64)]) -> Vec<u8> {
    render_each(rows.iter().map(|(segment, received_at_millis)| (segment, *received_at_millis)))
}

fn render_each<'a>(rows: impl ExactSizeIterator<Item = (&'a Segment<'a>, i64)> + Clone) -> Vec<u8> {
    if rows.len() == 0 {
        return Vec::new();
    }
    let bytes: usize = rows.clone().map(|(segment, _)| row_bytes(segment)).sum();
    let mut out = Vec::with_capacity(SIGNATURE.len() + 8 + bytes + 2);
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; 8]);
    for (segment, received_at_millis) in rows {
        push_row(&mut out, segment, received_at_millis);
    }
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out
}

/// An estimate that columns without leaps and without NULL meet.
fn row_bytes(segment: &Segment<'_>) -> usize {
    let fixes = segment.fixed_at_millis.len();
    ROW_BYTES + 4 * packed::usual_bytes(fixes) + 4 * (HEADER_BYTES + fixes * INT2_BYTES)
}

fn push_row(out: &mut Vec<u8>, segment: &Segment<'_>, received_at_millis: i64) {
    // A group of batches is bounded far below 2^31 fixes; the saturated count would be refused by PostgreSQL.
    let fix_count = i32::try_from(segment.fixed_at_millis.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&FIELDS.to_be_bytes());
    push_i32(out, segment.tenant_id);
    push_i32(out, fix_count);
    push_i64(out, segment.device_id);
    push_timestamp(out, segment.first_at_millis);
    push_timestamp(out, segment.last_at_millis);
    push_timestamp(out, received_at_millis);
    packed::push(out, offsets(segment));
    packed::push(out, segment.lat_e7.iter().copied());
    packed::push(out, segment.lon_e7.iter().copied());
    packed::push(out, segment.altitude_dm.iter().copied());
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

fn offsets(segment: &Segment<'_>) -> impl Iterator<Item = i32> + Clone {
    let first_at_millis = segment.first_at_millis;
    #[expect(clippy::cast_possible_truncation, reason = "within one day: at most 86,399,999 ms")]
    let offset = move |fixed_at_millis: &i64| (fixed_at_millis - first_at_millis) as i32;
    segment.fixed_at_millis.iter().map(offset)
}

fn push_int2_array(out: &mut Vec<u8>, values: &[i16]) {
    let nulls = values.iter().filter(|value| **value == NONE_I16).count();
    if nulls == values.len() {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        return;
    }
    push_array_header(out, values.len(), nulls);
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

fn push_array_header(out: &mut Vec<u8>, count: usize, nulls: usize) {
    let size = HEADER_BYTES + (count - nulls) * INT2_BYTES + nulls * 4;
    for word in [size, 1, usize::from(nulls > 0), INT2_OID as usize, count, 1] {
        // Beyond 1 GB PostgreSQL refuses the field; saturating keeps this total.
        out.extend_from_slice(&i32::try_from(word).unwrap_or(i32::MAX).to_be_bytes());
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
mod tests {
    use super::*;
    use crate::batch::Columns;
    use crate::fix::{Fix, NONE_I32};
    use crate::pg_array::read_int2;
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
            "00000004 00000007",                                                       // tenant_id
            "00000004 00000002",                                                       // fix_count
            "00000008 000000000000012c",                                               // device_id
            &format!("00000008 {FIRST_AT_MICROS:016x}"),                               // first_at
            &format!("00000008 {:016x}", FIRST_AT_MICROS + 1_000_000),                 // last_at
            &format!("00000008 {:016x}", FIRST_AT_MICROS + 2_500_000),                 // received_at
            "0000004c 00000004 00000017 00000004 00000000 00000017 00000004 000003e8", // offset_millis: from 0 by 1000
            "000003ed 00000020 00000001 00000000 00000015 00000002 00000001",
            "00000002 0000 00000002 0001 000003ed ffffffff",
            "0000004c 00000004 00000017 00000004 1cb12594 00000017 00000004 00000001", // lat_e7: stays
            "000003ed 00000020 00000001 00000000 00000015 00000002 00000001",
            "00000002 0000 00000002 0000 000003ed ffffffff",
            "0000004c 00000004 00000017 00000004 f9199fa8 00000017 00000004 00000001", // lon_e7: stays
            "000003ed 00000020 00000001 00000000 00000015 00000002 00000001",
            "00000002 0000 00000002 0000 000003ed ffffffff",
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
        let mut two = Vec::new();
        push_int2_array(&mut two, &[NONE_I16, 5]);
        assert_eq!(read_int2(&two[4..]), Ok(vec![NONE_I16, 5]));
    }
}
