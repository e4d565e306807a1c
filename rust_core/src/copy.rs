//! Rows of `track_merged` in `PostgreSQL`'s binary COPY format.
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
//! The order of the fields is that of the table's columns. `track_segment` has the same; its rows go another way, as
//! `record.rs` renders them.

use crate::record::{Form, push_segment, segment_bytes};
use crate::segment::Segment;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Renders segments, each with the time at which it was received (milliseconds since 1970); no bytes at all when there
/// is none, because a COPY of nothing need not be sent.
pub fn render(rows: &[(Segment<'_>, i64)]) -> Vec<u8> {
    if rows.is_empty() {
        return Vec::new();
    }
    let bytes: usize = rows.iter().map(|(segment, _)| segment_bytes(segment)).sum();
    let mut out = Vec::with_capacity(SIGNATURE.len() + 8 + bytes + 2);
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; 8]);
    for (segment, received_at_millis) in rows {
        push_segment(&mut out, segment, *received_at_millis, Form::Copy);
    }
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Columns;
    use crate::fix::{Fix, NONE_I16, NONE_I32};
    use crate::record::tests::hex;
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

    #[test]
    fn renders_the_golden_row() {
        let columns = columns();
        let mut segments = Vec::new();
        split(7, 300, &columns, &mut segments);
        let expected = [
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
        ];
        let rows: Vec<_> = segments.into_iter().map(|segment| (segment, FIRST_AT_MILLIS + 2_500)).collect();
        assert_eq!(render(&rows), hex(&expected.concat()));
    }

    #[test]
    fn renders_nothing_for_nothing() {
        assert!(render(&[]).is_empty());
    }
}
