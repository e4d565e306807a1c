//! What one worker packs, another shows: in any order of messages, the newest fix of a device stays.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use fleetwire_core::filter::StatusRule;
use fleetwire_core::fix::Fix;
use fleetwire_core::live::{LiveTable, Position};
use fleetwire_core::relay::{Departures, RelayError, apply};
use proptest::prelude::*;

const TENANT_ID: i32 = 7;
const NOW_MILLIS: i64 = 1_763_768_400_000;

fn table() -> LiveTable {
    LiveTable::new(StatusRule { moving_cmps: 100, offline_millis: 600_000 })
}

fn position(device_id: i64, fixed_at_millis: i64) -> Position {
    let fix = Fix {
        fixed_at_millis,
        lat_e7: 481_371_540,
        lon_e7: -115_761_240,
        altitude_dm: 5_190,
        speed_cmps: 1_340,
        heading_cdeg: -8_900,
        accuracy_dm: i16::MIN,
        battery_permille: 800,
    };
    Position { tenant_id: TENANT_ID, device_id, fix }
}

/// A position so many milliseconds after a moment.
fn at(device_id: i64, offset_millis: i64) -> Position {
    position(device_id, NOW_MILLIS + offset_millis)
}

fn message(positions: &[Position], names: &[(i64, &str)]) -> Vec<u8> {
    let mut departures = Departures::default();
    for (device_id, name) in names {
        departures.meet(TENANT_ID, *device_id, name);
    }
    departures.record(positions);
    let mut messages = departures.take();
    assert_eq!((messages.len(), departures.take()), (1, vec![]));
    let (tenant_id, message) = messages.remove(0);
    assert_eq!(tenant_id, TENANT_ID);
    message
}

#[test]
fn another_worker_shows_what_this_one_stored() {
    let (mut here, mut there) = (table(), table());
    here.load(TENANT_ID, 1, "Laster \"7\"", None);
    here.advance(&[position(1, 1_763_768_400_000)]);
    let packed = message(&[position(1, 1_763_768_400_000)], &[(1, "Laster \"7\"")]);
    assert_eq!(apply(&mut there, TENANT_ID, &packed), Ok(1));
    assert_eq!(there.tick(NOW_MILLIS), [TENANT_ID]);
    assert_eq!(there.geojson(TENANT_ID), here.geojson(TENANT_ID));
    // Again, it moves nothing.
    assert_eq!((apply(&mut there, TENANT_ID, &packed), there.tick(NOW_MILLIS)), (Ok(0), vec![]));
}

#[test]
fn a_device_known_already_travels_without_its_name() {
    let mut there = table();
    there.load(TENANT_ID, 1, "van", None);
    assert_eq!(apply(&mut there, TENANT_ID, &message(&[at(1, 5)], &[])), Ok(1));
    assert_eq!(there.len(), 1);
}

#[test]
fn a_device_that_was_only_met_is_known_and_not_shown() {
    let mut there = table();
    assert_eq!(apply(&mut there, TENANT_ID, &message(&[], &[(1, "van")])), Ok(0));
    assert!(there.is_empty());
    there.advance(&[at(1, 5)]);
    assert_eq!(there.len(), 1);
}

#[test]
fn the_newest_fix_of_a_tick_is_sent() {
    let mut there = table();
    let packed = message(&[at(1, 5), at(1, 9), at(1, 7)], &[(1, "van")]);
    apply(&mut there, TENANT_ID, &packed).unwrap();
    assert!(String::from_utf8(there.geojson(TENANT_ID)).unwrap().contains("\"timestamp\":1763768400009"));
}

#[test]
fn a_message_of_another_version_is_refused() {
    let mut packed = message(&[at(1, 5)], &[]);
    packed.splice(0..1, [2]);
    assert_eq!(apply(&mut table(), TENANT_ID, &packed), Err(RelayError::Version(2)));
}

#[test]
fn a_message_that_was_cut_moves_nothing() {
    let packed = message(&[at(1, 5), at(2, 5)], &[(1, "van"), (2, "bus")]);
    for size in 0..packed.len() {
        let mut table = table();
        let cut = packed.get(..size).unwrap();
        // Between two entries it is a shorter message; the relay's own numbers tell of what is missing.
        if apply(&mut table, TENANT_ID, cut).is_err() {
            assert!(table.is_empty() && table.tick(NOW_MILLIS).is_empty());
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_bring_a_worker_down(message in prop::collection::vec(any::<u8>(), 0..200)) {
        let _moved = apply(&mut table(), TENANT_ID, &message);
        let versioned = [&[1, 3][..], &message].concat();
        let _moved = apply(&mut table(), TENANT_ID, &versioned);
    }

    #[test]
    fn the_order_of_messages_does_not_matter(
        moves in prop::collection::vec((0_i64..4, 1_i64..50), 1..30),
        turn in any::<prop::sample::Index>(),
    ) {
        let messages: Vec<_> = moves.iter().map(|(device, time)| message(&[at(*device, *time)], &[(*device, "x")])).collect();
        let (mut straight, mut turned) = (table(), table());
        for device_id in 0..4 {
            straight.load(TENANT_ID, device_id, "x", None);
            turned.load(TENANT_ID, device_id, "x", None);
        }
        let middle = turn.index(messages.len());
        for message in &messages {
            apply(&mut straight, TENANT_ID, message).unwrap();
        }
        for message in messages.iter().skip(middle).chain(messages.iter().take(middle)) {
            apply(&mut turned, TENANT_ID, message).unwrap();
        }
        prop_assert_eq!(straight.geojson(TENANT_ID), turned.geojson(TENANT_ID));
    }
}

#[test]
fn a_position_or_a_name_that_ingest_would_refuse_is_refused_with_its_whole_message() {
    let far = |change: fn(&mut Fix)| {
        let mut far = at(2, 0);
        change(&mut far.fix);
        far
    };
    let impossible = [
        far(|fix| fix.lat_e7 = 900_000_001),
        far(|fix| fix.lon_e7 = i32::MAX),
        far(|fix| fix.altitude_dm = 1_000_001),
        far(|fix| fix.speed_cmps = -1),
        far(|fix| fix.heading_cdeg = 18_000),
        far(|fix| fix.accuracy_dm = -1),
        far(|fix| fix.battery_permille = 1_001),
        far(|fix| fix.fixed_at_millis = i64::MAX),
        far(|fix| fix.fixed_at_millis = 0),
    ];
    for position in impossible {
        let mut there = table();
        let packed = message(&[at(1, 0), position], &[(1, "van")]);
        assert_eq!(apply(&mut there, TENANT_ID, &packed), Err(RelayError::Implausible), "{position:?}");
        assert_eq!(there.tick(NOW_MILLIS), [0; 0]);
    }
    for name in ["", "v\u{202e}n", "v\u{200b}n", " van", "v\u{1b}[31m"] {
        let packed = message(&[], &[(1, name)]);
        assert_eq!(apply(&mut table(), TENANT_ID, &packed), Err(RelayError::Implausible), "{name:?}");
    }
}
