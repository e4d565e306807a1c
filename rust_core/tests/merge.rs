//! Merging keeps every fix, whatever the slices it was stored in.
//!
//! Segments go through their COPY bytes, as they do in the database: what `group` writes is merged, and what merging
//! writes is merged again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::BTreeMap;

use fleetwire_core::batch::Columns;
use fleetwire_core::copy::render;
use fleetwire_core::fix::{DAY_MILLIS, Fix, NONE_I16, NONE_I32};
use fleetwire_core::merge::{MergeError, Merged, StoredSegment, merge};
use fleetwire_core::packed;
use fleetwire_core::pg_array::read_int2;
use fleetwire_core::segment::split;
use fleetwire_core::track::SegmentArrays;
use proptest::prelude::*;

const MIDNIGHT_MILLIS: i64 = 20_000 * DAY_MILLIS;

fn fix(fixed_at_millis: i64, lat_e7: i32) -> Fix {
    Fix {
        fixed_at_millis,
        lat_e7,
        lon_e7: lat_e7.wrapping_mul(3) % 1_800_000_000,
        altitude_dm: if lat_e7 % 3 == 0 { NONE_I32 } else { lat_e7 % 500 },
        speed_cmps: if lat_e7 % 2 == 0 { 5 } else { NONE_I16 },
        heading_cdeg: NONE_I16,
        accuracy_dm: NONE_I16,
        battery_permille: 1000,
    }
}

/// The fields of a row of COPY bytes; `None` is NULL.
type Fields = Vec<Option<Vec<u8>>>;

fn read_copy(copy: &[u8]) -> Vec<Fields> {
    fn take(rest: &mut &[u8], count: usize) -> Vec<u8> {
        let (head, tail) = rest.split_at(count);
        *rest = tail;
        head.to_vec()
    }
    let mut rows = Vec::new();
    if copy.is_empty() {
        return rows;
    }
    let mut rest = copy;
    take(&mut rest, 19);
    while take(&mut rest, 2) == [0, 14] {
        let mut fields = Vec::new();
        for _ in 0..14 {
            let size = i32::from_be_bytes(take(&mut rest, 4).try_into().unwrap());
            fields.push(usize::try_from(size).ok().map(|size| take(&mut rest, size)));
        }
        rows.push(fields);
    }
    assert!(rest.is_empty());
    rows
}

fn millis(field: Option<&Vec<u8>>) -> i64 {
    i64::from_be_bytes(field.unwrap().as_slice().try_into().unwrap()) / 1_000 + 946_684_800_000
}

fn stored(fields: &Fields) -> StoredSegment<'_> {
    let column = |place: usize| fields[place].as_deref();
    StoredSegment {
        first_at_millis: millis(fields[3].as_ref()),
        received_at_millis: millis(fields[5].as_ref()),
        arrays: SegmentArrays {
            offset_millis: column(6).unwrap(),
            lat_e7: column(7).unwrap(),
            lon_e7: column(8).unwrap(),
            altitude_dm: column(9),
            speed_cmps: column(10),
            heading_cdeg: column(11),
            accuracy_dm: column(12),
            battery_permille: column(13),
        },
    }
}

fn fixes(fields: &Fields) -> Vec<Fix> {
    let segment = stored(fields);
    let times = packed::read(segment.arrays.offset_millis).unwrap();
    let count = times.len();
    assert_eq!(fields[1].as_deref(), Some(&i32::try_from(count).unwrap().to_be_bytes()[..]));
    assert_eq!(millis(fields[4].as_ref()), segment.first_at_millis + i64::from(times[count - 1]));
    let four = |bytes: Option<&[u8]>| bytes.map_or_else(|| vec![NONE_I32; count], |bytes| packed::read(bytes).unwrap());
    let two = |bytes: Option<&[u8]>| bytes.map_or_else(|| vec![NONE_I16; count], |bytes| read_int2(bytes).unwrap());
    let arrays = &segment.arrays;
    let (lat, lon, altitude) = (four(Some(arrays.lat_e7)), four(Some(arrays.lon_e7)), four(arrays.altitude_dm));
    let (speed, heading) = (two(arrays.speed_cmps), two(arrays.heading_cdeg));
    let (accuracy, battery) = (two(arrays.accuracy_dm), two(arrays.battery_permille));
    (0..count)
        .map(|place| Fix {
            fixed_at_millis: segment.first_at_millis + i64::from(times[place]),
            lat_e7: lat[place],
            lon_e7: lon[place],
            altitude_dm: altitude[place],
            speed_cmps: speed[place],
            heading_cdeg: heading[place],
            accuracy_dm: accuracy[place],
            battery_permille: battery[place],
        })
        .collect()
}

/// A row per slice, received at its number.
fn rows(slices: &[Vec<Fix>]) -> Vec<Fields> {
    let mut rows = Vec::new();
    for (received_at_millis, slice) in (0..).zip(slices) {
        let mut columns = Columns::default();
        for fix in slice {
            columns.push(*fix);
        }
        let mut segments = Vec::new();
        split(1, 2, &columns, &mut segments);
        let rows_of: Vec<_> =
            segments.into_iter().map(|segment| (segment, MIDNIGHT_MILLIS + received_at_millis)).collect();
        rows.extend(read_copy(&render(&rows_of)));
    }
    rows
}

fn merged(rows: &[Fields], max_fixes: usize) -> Result<Merged, MergeError> {
    let stored: Vec<_> = rows.iter().map(stored).collect();
    merge(1, 2, &stored, max_fixes)
}

#[test]
fn a_row_was_received_when_the_latest_of_its_parts_was() {
    let at = |second: i64| fix(MIDNIGHT_MILLIS + second * 1000, 7);
    let rows = rows(&[vec![at(0), at(3)], vec![at(9)], vec![at(1)]]);
    let merged = merged(&rows, 3).unwrap();
    let received: Vec<_> =
        read_copy(&merged.copy).iter().map(|fields| millis(fields[5].as_ref()) - MIDNIGHT_MILLIS).collect();
    assert_eq!((received, merged.segments, merged.fixes), (vec![2, 1], 2, 4));
}

#[test]
fn a_time_stored_twice_is_an_error() {
    let twice = MIDNIGHT_MILLIS + 5;
    let rows = rows(&[vec![fix(twice, 1)], vec![fix(twice - 1, 1), fix(twice, 2)]]);
    assert_eq!(merged(&rows, 10), Err(MergeError::Twice { fixed_at_millis: twice }));
}

#[test]
fn nothing_becomes_nothing() {
    assert_eq!(merged(&[], 10), Ok(Merged::default()));
}

proptest! {
    #[test]
    fn every_fix_comes_back(
        times in proptest::collection::btree_map(-90_000_000_i64..90_000_000, (any::<i32>(), 0_usize..6), 1..120),
        max_fixes in 1_usize..50,
    ) {
        let all: Vec<Fix> = times
            .iter()
            .map(|(offset, (lat_e7, _))| fix(MIDNIGHT_MILLIS + offset, lat_e7 % 900_000_000))
            .collect();
        let mut slices: BTreeMap<usize, Vec<Fix>> = BTreeMap::new();
        for (fix, (_, slice)) in all.iter().zip(times.values()) {
            slices.entry(*slice).or_default().push(*fix);
        }
        let slices: Vec<_> = slices.into_values().collect();
        let once = read_copy(&merged(&rows(&slices), max_fixes).unwrap().copy);
        // What was merged can be merged again.
        let again = read_copy(&merged(&once, 1000).unwrap().copy);
        for (rows, max_fixes) in [(once, max_fixes), (again, 1000)] {
            let found: Vec<Vec<Fix>> = rows.iter().map(fixes).collect();
            prop_assert_eq!(found.concat(), all.clone());
            for row in &found {
                prop_assert!(row.len() <= max_fixes);
                let day = |fix: &Fix| fix.fixed_at_millis.div_euclid(DAY_MILLIS);
                prop_assert_eq!(day(&row[0]), day(&row[row.len() - 1]));
            }
        }
    }
}
