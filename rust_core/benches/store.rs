//! What storing and reading cost in the core: `cargo bench --bench store`.
//!
//! A group of batches to rows, an hour of small segments merged into one row, a day rendered as a track.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints and fails by panicking")]

mod common;

use std::hint::black_box;

use common::median_nanos;
use fleetwire_core::batch::{Batch, Columns};
use fleetwire_core::fix::Fix;
use fleetwire_core::group::{Group, Member};
use fleetwire_core::merge::{StoredSegment, merge};
use fleetwire_core::packed;
use fleetwire_core::recent::Recent;
use fleetwire_core::record::RowTypes;
use fleetwire_core::track::{Format, SegmentArrays, TrackWriter};

const MIDNIGHT_MILLIS: i64 = 1_763_683_200_000;
const BATCHES: i64 = 64;
const BATCH_FIXES: i64 = 50;
const HOUR_FIXES: i64 = 3_600;
const DAY_FIXES: i64 = 86_400;

fn fix(second: i64) -> Fix {
    let step = i32::try_from(second).expect("a day has less seconds");
    Fix {
        fixed_at_millis: MIDNIGHT_MILLIS + second * 1_000,
        lat_e7: 481_371_540 + step * 37,
        lon_e7: 115_761_240 + step * 53,
        altitude_dm: 5_190 + step % 9,
        speed_cmps: 1_340,
        heading_cdeg: -8_900,
        accuracy_dm: 50,
        battery_permille: 800,
    }
}

fn columns(seconds: std::ops::Range<i64>) -> Columns {
    let mut columns = Columns::default();
    seconds.for_each(|second| columns.push(fix(second)));
    columns
}

/// Columns of a segment as the database gives them.
struct Packed {
    first_at_millis: i64,
    offset_millis: Vec<u8>,
    lat_e7: Vec<u8>,
    lon_e7: Vec<u8>,
}

impl Packed {
    fn of(seconds: std::ops::Range<i64>) -> Self {
        let columns = columns(seconds);
        let first_at_millis = *columns.fixed_at_millis.first().expect("a segment is never empty");
        let offsets = columns.fixed_at_millis.iter().map(|time| i32::try_from(time - first_at_millis).expect("a day"));
        let field = |out: &mut Vec<u8>| out.split_off(4);
        let (mut offset_millis, mut lat_e7, mut lon_e7) = (Vec::new(), Vec::new(), Vec::new());
        packed::push(&mut offset_millis, offsets.collect::<Vec<_>>().into_iter());
        packed::push(&mut lat_e7, columns.lat_e7.iter().copied());
        packed::push(&mut lon_e7, columns.lon_e7.iter().copied());
        Self {
            first_at_millis,
            offset_millis: field(&mut offset_millis),
            lat_e7: field(&mut lat_e7),
            lon_e7: field(&mut lon_e7),
        }
    }

    fn arrays(&self) -> SegmentArrays<'_> {
        SegmentArrays {
            offset_millis: &self.offset_millis,
            lat_e7: &self.lat_e7,
            lon_e7: &self.lon_e7,
            altitude_dm: None,
            speed_cmps: None,
            heading_cdeg: None,
            accuracy_dm: None,
            battery_permille: None,
        }
    }
}

fn main() -> Result<(), &'static str> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing about speed: run `cargo bench`");
    }
    let batch = Batch { columns: columns(0..BATCH_FIXES), ..Batch::default() };
    let members = || (0..BATCHES).map(|device_id| Member { tenant_id: 1, device_id, batch: batch.clone() }).collect();
    let nobody = vec![None; usize::try_from(BATCHES).expect("a few")];
    let group = Group::new(members());
    let seal = || {
        group
            .seal(&nobody, &[], &Recent::new(0), MIDNIGHT_MILLIS, RowTypes::default())
            .expect("one answer for each device")
    };
    let sealed = seal();
    assert_eq!(sealed.tallies.iter().map(|tally| tally.stored).sum::<usize>(), 64 * 50);
    let nanos = median_nanos(BATCHES, || drop(black_box(seal())));
    println!("a batch of {BATCH_FIXES} of a group to a row: {nanos} ns, {} bytes", sealed.segments.len() / 64);

    let small: Vec<Packed> =
        (0..HOUR_FIXES / BATCH_FIXES).map(|place| Packed::of(place * BATCH_FIXES..(place + 1) * BATCH_FIXES)).collect();
    let stored: Vec<StoredSegment<'_>> = small
        .iter()
        .map(|each| StoredSegment {
            first_at_millis: each.first_at_millis,
            received_at_millis: MIDNIGHT_MILLIS,
            arrays: each.arrays(),
        })
        .collect();
    let merged = || merge(1, 2, &stored, 3_600).expect("no time is stored twice");
    assert_eq!((merged().segments, merged().fixes), (1, 3_600));
    println!("a fix merged: {} ns", median_nanos(HOUR_FIXES, || drop(black_box(merged()))));

    let day: Vec<Packed> = (0..24).map(|hour| Packed::of(hour * HOUR_FIXES..(hour + 1) * HOUR_FIXES)).collect();
    for (name, format) in [("GeoJSON", Format::GeoJson), ("GPX", Format::Gpx), ("CSV", Format::Csv)] {
        let track = || {
            let mut writer = TrackWriter::new(format, "truck-7", 0, i64::MAX);
            let mut out = Vec::new();
            for segment in &day {
                out.extend(writer.push(segment.first_at_millis, &segment.arrays()).expect("segments ascend"));
            }
            out.extend(writer.finish());
            out
        };
        let times = track().windows(10).filter(|text| *text == b"2025-11-21").count();
        let expected = if format == Format::Csv { 0 } else { 86_400 };
        assert_eq!(times, expected, "{name} has every fix");
        println!("a fix of a day as {name}: {} ns", median_nanos(DAY_FIXES, || drop(black_box(track()))));
    }
    Ok(())
}
