//! The live table: order does not matter, and a watcher that follows by sequence number ends with the present.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::BTreeMap;

use fleetwire_core::fix::{Fix, NONE_I16, NONE_I32};
use fleetwire_core::live::{LiveTable, Position};
use proptest::prelude::*;
use serde_json::{Value, json};

const TENANT_ID: i32 = 1;

fn position(device_id: i64, fixed_at_millis: i64) -> Position {
    let fix = Fix {
        fixed_at_millis,
        lat_e7: 481_371_540,
        lon_e7: 115_761_240,
        altitude_dm: NONE_I32,
        speed_cmps: NONE_I16,
        heading_cdeg: NONE_I16,
        accuracy_dm: NONE_I16,
        battery_permille: NONE_I16,
    };
    Position { tenant_id: TENANT_ID, device_id, fix }
}

fn table(devices: i64) -> LiveTable {
    let mut table = LiveTable::default();
    for device_id in 0..devices {
        table.load(TENANT_ID, device_id, &format!("truck-{device_id}"), None);
    }
    table
}

/// Sequence number and timestamps by device of a frame.
fn read(frame: &[u8]) -> (u64, BTreeMap<String, i64>) {
    let frame: Value = serde_json::from_slice(frame).unwrap();
    let positions = frame["positions"].as_array().unwrap().iter();
    let read =
        |position: &Value| (position["device"].as_str().unwrap().to_owned(), position["timestamp"].as_i64().unwrap());
    (frame["seq"].as_u64().unwrap(), positions.map(read).collect())
}

fn names(frame: &[u8]) -> Vec<String> {
    let frame: Value = serde_json::from_slice(frame).unwrap();
    let positions = frame["positions"].as_array().unwrap().iter();
    positions.map(|position| position["device"].as_str().unwrap().to_owned()).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Advance(i64, i64),
    Tick,
    Follow(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_i64..6, 0_i64..30).prop_map(|(device_id, time)| Step::Advance(device_id, time)),
        2 => Just(Step::Tick),
        1 => (0_usize..3).prop_map(Step::Follow),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn the_order_of_movements_does_not_matter(
        moves in proptest::collection::vec((0_i64..5, 0_i64..20), 0..40).prop_shuffle(),
        cuts in any::<u64>(),
    ) {
        let mut one = table(5);
        one.advance(&moves.iter().map(|(device_id, time)| position(*device_id, *time)).collect::<Vec<_>>());
        let mut other = table(5);
        for (place, (device_id, time)) in moves.iter().rev().enumerate() {
            other.advance(&[position(*device_id, *time)]);
            if cuts >> (place % 64) & 1 == 1 {
                other.tick();
            }
        }
        one.tick();
        other.tick();
        prop_assert_eq!(read(&one.snapshot(TENANT_ID, "e")).1, read(&other.snapshot(TENANT_ID, "e")).1);
        prop_assert_eq!(one.len(), other.len());
    }

    /// Watchers start from a snapshot at different times and follow when they can; in the end they know the present.
    #[test]
    fn whoever_follows_ends_with_the_present(steps in steps()) {
        let mut table = table(6);
        let mut watchers: Vec<Option<(u64, BTreeMap<String, i64>)>> = vec![None; 3];
        let last = (0..3).map(Step::Follow);
        for step in steps.into_iter().chain([Step::Tick]).chain(last) {
            match step {
                Step::Advance(device_id, time) => { table.advance(&[position(device_id, time)]); }
                Step::Tick => { table.tick(); }
                Step::Follow(watcher) => match &mut watchers[watcher] {
                    Some((seq, known)) => if let Some(frame) = table.moved(TENANT_ID, *seq) {
                        let (at_seq, moved) = read(&frame);
                        prop_assert!(at_seq > *seq && !moved.is_empty());
                        *seq = at_seq;
                        known.extend(moved);
                    },
                    fresh => *fresh = Some(read(&table.snapshot(TENANT_ID, "e"))),
                },
            }
        }
        let present = read(&table.snapshot(TENANT_ID, "e")).1;
        prop_assert_eq!(table.len(), present.len());
        for (_, known) in watchers.into_iter().flatten() {
            prop_assert_eq!(&known, &present);
        }
    }
}

#[test]
fn an_older_fix_never_replaces_a_newer_one() {
    let mut table = table(1);
    assert_eq!(table.advance(&[position(0, 10), position(0, 5), position(0, 10)]), 1);
    assert_eq!(read(&table.snapshot(TENANT_ID, "e")).1["truck-0"], 10);
}

#[test]
fn a_tick_announces_each_movement_once() {
    let mut table = table(3);
    table.load(2, 7, "other", None);
    assert_eq!(table.tick(), Vec::<i32>::new());
    table.advance(&[Position { tenant_id: 2, ..position(7, 1) }, position(2, 1), position(0, 1), position(0, 2)]);
    assert_eq!(table.moved(TENANT_ID, 0), None, "not before the tick");
    assert_eq!(table.tick(), [1, 2]);
    assert_eq!(table.tick(), Vec::<i32>::new());
    assert_eq!((table.seq(1), table.seq(2), table.seq(3)), (1, 1, 0));
    table.advance(&[position(1, 1)]);
    table.tick();
    assert_eq!(names(&table.moved(TENANT_ID, 0).unwrap()), ["truck-0", "truck-1", "truck-2"], "as they became known");
    assert_eq!(names(&table.moved(TENANT_ID, 1).unwrap()), ["truck-1"]);
    assert_eq!(table.moved(TENANT_ID, 2), None);
    assert_eq!(table.moved(TENANT_ID, 99), None);
    assert_eq!(table.moved(3, 0), None);
}

#[test]
fn watchers_in_step_share_one_rendering() {
    let mut table = table(2);
    table.advance(&[position(0, 1)]);
    table.tick();
    let frame = table.moved(TENANT_ID, 0).unwrap();
    table.advance(&[position(0, 2)]);
    assert!(std::sync::Arc::ptr_eq(&frame, &table.moved(TENANT_ID, 0).unwrap()));
    table.tick();
    assert_eq!(read(&table.moved(TENANT_ID, 0).unwrap()).1["truck-0"], 2);
}

#[test]
fn a_device_is_shown_when_its_name_is_known() {
    let mut table = LiveTable::default();
    assert_eq!(table.advance(&[position(0, 10), position(1, 10)]), 2);
    assert_eq!((table.len(), table.tick()), (0, vec![]));
    table.load(TENANT_ID, 0, "behind", Some(position(0, 5).fix));
    table.load(TENANT_ID, 1, "ahead", Some(position(1, 15).fix));
    assert_eq!((table.len(), table.tick()), (2, vec![TENANT_ID]));
    assert_eq!(names(&table.moved(TENANT_ID, 0).unwrap()), ["behind"]);
    assert_eq!(read(&table.snapshot(TENANT_ID, "e")).1, BTreeMap::from([("behind".into(), 10), ("ahead".into(), 15)]));
}

#[test]
fn loading_is_not_a_movement() {
    let mut table = LiveTable::default();
    table.load(TENANT_ID, 0, "a", Some(position(0, 5).fix));
    table.load(TENANT_ID, 0, "b \"renamed\"", Some(position(0, 4).fix));
    assert_eq!((table.len(), table.tick()), (1, vec![]));
    assert_eq!(read(&table.snapshot(TENANT_ID, "e")), (0, BTreeMap::from([("b \"renamed\"".into(), 5)])));
    let geojson: Value = serde_json::from_slice(&table.geojson(TENANT_ID)).unwrap();
    assert_eq!(geojson["features"][0]["geometry"], json!({"type": "Point", "coordinates": [11.576_124, 48.137_154]}));
}
