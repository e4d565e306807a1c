//! The live table: order does not matter, and a watcher that follows by sequence number knows at each frame what its
//! filter showed at the tick of that frame.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};

use fleetwire_core::area::Area;
use fleetwire_core::filter::{Filter, Status, StatusRule, Statuses};
use fleetwire_core::fix::{Fix, NONE_I16, NONE_I32};
use fleetwire_core::frame::Format::Json;
use fleetwire_core::live::{LiveTable, Position, ViewId, WHOLE};
use proptest::prelude::*;
use serde_json::{Value, json};

const TENANT_ID: i32 = 1;
const RULE: StatusRule = StatusRule { moving_cmps: 80, offline_millis: 50 };
const DEVICES: i64 = 6;

fn fix(fixed_at_millis: i64) -> Fix {
    Fix {
        fixed_at_millis,
        lat_e7: 481_371_540,
        lon_e7: 115_761_240,
        altitude_dm: NONE_I32,
        speed_cmps: NONE_I16,
        heading_cdeg: NONE_I16,
        accuracy_dm: NONE_I16,
        battery_permille: NONE_I16,
    }
}

fn position(device_id: i64, fixed_at_millis: i64) -> Position {
    Position { tenant_id: TENANT_ID, device_id, fix: fix(fixed_at_millis) }
}

fn name_of(device_id: i64) -> String {
    format!("truck-{device_id}")
}

fn table(devices: i64) -> LiveTable {
    let mut table = LiveTable::new(RULE);
    for device_id in 0..devices {
        table.load(TENANT_ID, device_id, &name_of(device_id), None);
    }
    table
}

/// Timestamps by device: what a watcher shows.
type Shown = BTreeMap<String, i64>;

/// Applies a frame as a client does, and returns its `seq` if there was one.
fn apply(shown: &mut Shown, messages: &[Vec<u8>]) -> Option<u64> {
    let mut seq = None;
    for (at, message) in messages.iter().enumerate() {
        let message: Value = serde_json::from_slice(message).unwrap();
        if message["type"] == "snapshot" && at == 0 {
            shown.clear();
        }
        for position in message["positions"].as_array().unwrap() {
            shown.insert(position["device"].as_str().unwrap().to_owned(), position["timestamp"].as_i64().unwrap());
        }
        for name in message.get("left").into_iter().flat_map(|left| left.as_array().unwrap()) {
            shown.remove(name.as_str().unwrap());
        }
        assert_eq!(message.get("more").is_some(), at + 1 < messages.len());
        seq = message["seq"].as_u64();
    }
    seq
}

fn snapshot(table: &mut LiveTable, view: ViewId, now_millis: i64) -> (u64, Shown) {
    let mut shown = Shown::new();
    let seq = apply(&mut shown, &table.snapshot(TENANT_ID, view, Json, "e", now_millis)).unwrap();
    (seq, shown)
}

fn moved(table: &LiveTable, view: ViewId, since_seq: u64) -> Value {
    let messages = table.moved(TENANT_ID, view, Json, since_seq);
    messages.first().map_or(Value::Null, |message| serde_json::from_slice(message).unwrap())
}

fn names(frame: &Value) -> Vec<&str> {
    frame["positions"].as_array().unwrap().iter().map(|position| position["device"].as_str().unwrap()).collect()
}

proptest! {
    #[test]
    fn the_order_of_movements_does_not_matter(
        moves in prop::collection::vec((0_i64..5, 0_i64..20), 0..40).prop_shuffle(),
        cuts in any::<u64>(),
    ) {
        let mut one = table(5);
        one.advance(&moves.iter().map(|(device_id, time)| position(*device_id, *time)).collect::<Vec<_>>());
        let mut other = table(5);
        for (place, (device_id, time)) in moves.iter().rev().enumerate() {
            other.advance(&[position(*device_id, *time)]);
            if cuts >> (place % 64) & 1 == 1 {
                other.tick(0);
            }
        }
        prop_assert_eq!(snapshot(&mut one, WHOLE, 0).1, snapshot(&mut other, WHOLE, 0).1);
        prop_assert_eq!(one.len(), other.len());
    }
}

/// Something that happens, to the fleet or to one of the watchers.
#[derive(Clone, Debug)]
enum Step {
    Advance {
        device_id: i64,
        later_millis: i64,
        lat: i32,
        lon: i32,
        speed_cmps: i16,
    },
    /// Many devices move at once, in a row along the equator: enough for a search by cells.
    Crowd(i32),
    Name(i64),
    Group(&'static str, Vec<i64>),
    Wait(i64),
    Tick,
    Watch(usize, Filter),
    Follow(usize),
    /// A watcher goes away, and comes back when it follows next.
    Part(usize),
}

const WATCHERS: usize = 3;
const CROWD: std::ops::Range<i64> = 100..160;

fn filters() -> impl Strategy<Value = Filter> {
    let corner = || (-3..4_i32, -3..4_i32);
    let area = (corner(), corner(), any::<bool>()).prop_map(|((west, south), (east, north), is_far)| Area {
        west_e7: degrees(west, is_far),
        south_e7: degrees(south.min(north), false),
        east_e7: degrees(east, is_far),
        north_e7: degrees(south.max(north), false),
    });
    let statuses =
        prop::collection::vec(prop::sample::select(vec![Status::Moving, Status::Stopped, Status::Offline]), 1..3)
            .prop_map(|statuses| statuses.into_iter().fold(Statuses::default(), Statuses::with));
    let devices = prop::collection::btree_set(0..DEVICES + 2, 0..4)
        .prop_map(|ids| ids.into_iter().map(|id| name_of(id).into_boxed_str()).collect::<BTreeSet<Box<str>>>());
    let groups = prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c"]), 0..3)
        .prop_map(|groups| groups.into_iter().map(Box::from).collect::<BTreeSet<Box<str>>>());
    let may = prop::option::weighted(0.4, area);
    (
        may,
        prop::option::weighted(0.3, statuses),
        prop::option::weighted(0.3, devices),
        prop::option::weighted(0.3, groups),
    )
        .prop_map(|(area, statuses, devices, groups)| Filter { area, statuses, devices, groups })
}

/// Places around the origin, or around the antimeridian.
fn degrees(step: i32, is_far: bool) -> i32 {
    let near = step * 700_000;
    if is_far && near < 0 {
        near + 1_800_000_000
    } else if is_far {
        near - 1_800_000_000
    } else {
        near
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let advance = (
        0..DEVICES,
        -3..20_i64,
        -3..4_i32,
        -3..4_i32,
        any::<bool>(),
        prop::sample::select(vec![NONE_I16, 0, 79, 80, 900]),
    );
    let step = prop_oneof![
        12 => advance.prop_map(|(device_id, later_millis, lat, lon, is_far, speed_cmps)| Step::Advance {
            device_id, later_millis, lat: degrees(lat, false), lon: degrees(lon, is_far), speed_cmps
        }),
        2 => (-60..10_i32).prop_map(Step::Crowd),
        1 => (0..DEVICES).prop_map(Step::Name),
        1 => (prop::sample::select(vec!["a", "b"]), prop::collection::vec(0..DEVICES, 0..4)).prop_map(|(name, ids)| Step::Group(name, ids)),
        2 => (1..40_i64).prop_map(Step::Wait),
        6 => Just(Step::Tick),
        2 => (0..WATCHERS, filters()).prop_map(|(watcher, filter)| Step::Watch(watcher, filter)),
        5 => (0..WATCHERS).prop_map(Step::Follow),
        1 => (0..WATCHERS).prop_map(Step::Part),
    ];
    prop::collection::vec(step, 0..120)
}

/// The plain model: what the last tick announced, without numbers, views or a grid.
#[derive(Clone, Default)]
struct Model {
    newest: BTreeMap<i64, Fix>,
    named: BTreeSet<i64>,
    groups: BTreeMap<&'static str, BTreeSet<i64>>,
}

impl Model {
    fn shown(&self, filter: &Filter, now_millis: i64) -> Shown {
        let is_shown = |(device_id, fix): &(&i64, &Fix)| {
            let in_group = |group: &str| self.groups.get(group).is_some_and(|members| members.contains(device_id));
            self.named.contains(device_id)
                && filter.area.is_none_or(|area| area.contains(fix.lat_e7, fix.lon_e7))
                && filter.statuses.is_none_or(|statuses| statuses.contains(RULE.status(fix, now_millis)))
                && filter.devices.as_ref().is_none_or(|names| names.contains(name_of(**device_id).as_str()))
                && filter.groups.as_ref().is_none_or(|groups| groups.iter().any(|group| in_group(group)))
        };
        self.newest.iter().filter(is_shown).map(|(device_id, fix)| (name_of(*device_id), fix.fixed_at_millis)).collect()
    }
}

struct Watcher {
    filter: Filter,
    view: ViewId,
    seq: u64,
    shown: Shown,
    is_away: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever the fleet does, and whenever a watcher looks, parts, comes back or wants something else: after each
    /// frame it shows exactly what its filter showed at the tick of that frame.
    #[test]
    fn a_watcher_knows_at_each_frame_what_its_filter_shows(steps in steps()) {
        let mut table = LiveTable::new(RULE);
        let mut now_millis = 1_000;
        let mut coming = Model::default();
        for device_id in CROWD {
            table.load(TENANT_ID, device_id, &name_of(device_id), None);
            coming.named.insert(device_id);
        }
        // What each tick announced, and when.
        let mut told: BTreeMap<u64, (Model, i64)> = BTreeMap::from([(0, (Model::default(), now_millis))]);
        let mut watchers: Vec<Option<Watcher>> = (0..WATCHERS).map(|_| None).collect();
        let last = (0..WATCHERS).map(Step::Follow);
        for step in steps.into_iter().chain([Step::Tick]).chain(last) {
            let mut is_settled = matches!(step, Step::Tick | Step::Watch(..));
            match step {
                Step::Advance { device_id, later_millis, lat, lon, speed_cmps } => {
                    let fixed_at_millis = now_millis + later_millis - 10;
                    let fix = Fix { lat_e7: lat, lon_e7: lon, speed_cmps, ..fix(fixed_at_millis) };
                    table.advance(&[Position { tenant_id: TENANT_ID, device_id, fix }]);
                    if coming.newest.get(&device_id).is_none_or(|known| known.fixed_at_millis < fixed_at_millis) {
                        coming.newest.insert(device_id, fix);
                    }
                },
                Step::Crowd(from) => {
                    let lons = (from..).map(|place| place * 350_000);
                    let fixes = CROWD.zip(lons).map(|(device_id, lon_e7)| at(device_id, now_millis, lon_e7));
                    for position in fixes {
                        table.advance(&[position]);
                        if coming.newest.get(&position.device_id).is_none_or(|known| known.fixed_at_millis < now_millis) {
                            coming.newest.insert(position.device_id, position.fix);
                        }
                    }
                },
                Step::Name(device_id) => {
                    table.load(TENANT_ID, device_id, &name_of(device_id), None);
                    coming.named.insert(device_id);
                },
                Step::Group(name, device_ids) => {
                    table.set_group(TENANT_ID, name, &device_ids);
                    coming.groups.insert(name, device_ids.into_iter().collect());
                },
                Step::Wait(millis) => now_millis += millis,
                Step::Tick => { table.tick(now_millis); },
                Step::Part(watcher) => if let Some(watcher) = watchers[watcher].as_mut().filter(|watcher| !watcher.is_away) {
                    table.release(TENANT_ID, watcher.view);
                    watcher.is_away = true;
                },
                Step::Watch(at, filter) => {
                    if let Some(old) = watchers[at].take().filter(|watcher| !watcher.is_away) {
                        table.release(TENANT_ID, old.view);
                    }
                    let view = table.watch(TENANT_ID, filter.clone(), now_millis);
                    let (seq, shown) = snapshot(&mut table, view, now_millis);
                    prop_assert_eq!(&shown, &coming.shown(&filter, now_millis), "a snapshot is the present");
                    watchers[at] = Some(Watcher { filter, view, seq, shown, is_away: false });
                },
                Step::Follow(at) => if let Some(watcher) = &mut watchers[at] {
                    if std::mem::take(&mut watcher.is_away) {
                        watcher.view = table.watch(TENANT_ID, watcher.filter.clone(), now_millis);
                        is_settled = true;
                    }
                    if table.is_exact(TENANT_ID, watcher.view, watcher.seq) {
                        let messages = table.moved(TENANT_ID, watcher.view, Json, watcher.seq);
                        if let Some(seq) = apply(&mut watcher.shown, &messages) {
                            prop_assert!(seq > watcher.seq);
                        }
                        watcher.seq = table.seq(TENANT_ID);
                    } else {
                        (watcher.seq, watcher.shown) = snapshot(&mut table, watcher.view, now_millis);
                        is_settled = true;
                    }
                },
            }
            // A tick that has nothing to say has no number of its own: things are still as the one before has them.
            if is_settled {
                told.insert(table.seq(TENANT_ID), (coming.clone(), now_millis));
            }
            for watcher in watchers.iter().flatten() {
                let (model, at_millis) = &told[&watcher.seq];
                prop_assert_eq!(&watcher.shown, &model.shown(&watcher.filter, *at_millis), "{:?}", watcher.filter);
            }
        }
        prop_assert_eq!(table.len(), coming.newest.keys().filter(|device_id| coming.named.contains(device_id)).count());
    }
}

fn in_area(west: i32, east: i32) -> Filter {
    let area = Area { west_e7: west, south_e7: -10_000_000, east_e7: east, north_e7: 10_000_000 };
    Filter { area: Some(area), ..Filter::default() }
}

fn at(device_id: i64, fixed_at_millis: i64, lon_e7: i32) -> Position {
    let fix = Fix { lat_e7: 0, lon_e7, ..fix(fixed_at_millis) };
    Position { tenant_id: TENANT_ID, device_id, fix }
}

#[test]
fn a_device_that_drives_through_an_area_comes_moves_and_leaves() {
    let mut table = table(40);
    table.advance(&(0..40).map(|device_id| at(device_id, 1, 500_000_000)).collect::<Vec<_>>());
    let view = table.watch(TENANT_ID, in_area(0, 100), 0);
    assert_eq!(snapshot(&mut table, view, 0).1, Shown::new());
    let mut frames = Vec::new();
    for (time, lon_e7) in [(2, 0), (3, 50), (4, 100), (5, 101), (6, 102)] {
        // The others move as well, far away.
        table.advance(&(1..40).map(|device_id| at(device_id, time, 500_000_000)).collect::<Vec<_>>());
        table.advance(&[at(0, time, lon_e7)]);
        let since_seq = table.seq(TENANT_ID);
        assert_eq!(table.tick(0), [TENANT_ID]);
        frames.push(moved(&table, view, since_seq));
    }
    for frame in &frames[..3] {
        assert_eq!((names(frame), frame.get("left")), (vec!["truck-0"], None));
    }
    assert_eq!((names(&frames[3]), &frames[3]["left"]), (vec![], &json!(["truck-0"])));
    assert_eq!(frames[4], Value::Null, "what is gone is said once");
    // Who was away meanwhile hears of it as well, and who saw all of it is told nothing.
    assert_eq!(moved(&table, view, 3)["left"], json!(["truck-0"]));
    assert!(table.is_exact(TENANT_ID, view, 1) && !table.is_exact(TENANT_ID, view, 0));
}

#[test]
fn silence_changes_a_status_although_nothing_moves() {
    let mut table = table(2);
    table.advance(&[position(0, 100), position(1, 130)]);
    let offline = Filter { statuses: Some(Statuses::default().with(Status::Offline)), ..Filter::default() };
    let stopped = Filter { statuses: Some(Statuses::default().with(Status::Stopped)), ..Filter::default() };
    let (offline, stopped) = (table.watch(TENANT_ID, offline, 140), table.watch(TENANT_ID, stopped, 140));
    assert_eq!(snapshot(&mut table, offline, 140).1, Shown::new());
    assert_eq!(snapshot(&mut table, stopped, 140).1.len(), 2);
    let seq = table.seq(TENANT_ID);
    assert_eq!(table.tick(150), [TENANT_ID], "of the movement before the first watcher");
    assert_eq!((table.tick(150), table.seq(TENANT_ID)), (vec![], seq));
    assert_eq!(table.tick(151), [TENANT_ID]);
    assert_eq!(
        (names(&moved(&table, offline, seq)), &moved(&table, stopped, seq)["left"]),
        (vec!["truck-0"], &json!(["truck-0"]))
    );
    assert_eq!(moved(&table, WHOLE, seq), Value::Null, "nothing moved for who watches everything");
    // The view of nobody is looked after as well, until nobody can come back.
    table.release(TENANT_ID, offline);
    table.advance(&[position(0, 160)]);
    table.tick(161);
    assert_eq!(moved(&table, offline, seq + 1)["left"], json!(["truck-0"]));
    for time in 200..1_000 {
        table.advance(&[position(1, time)]);
        table.tick(time);
    }
    assert!(!table.is_exact(TENANT_ID, offline, table.seq(TENANT_ID)), "abandoned");
    assert!(table.is_exact(TENANT_ID, stopped, table.seq(TENANT_ID)));
}

#[test]
fn who_went_long_ago_is_forgotten_and_who_was_away_begins_anew() {
    let mut table = table(2);
    let view = table.watch(TENANT_ID, in_area(0, 100), 0);
    for (time, lon_e7) in [(1, 50), (2, 200)] {
        table.advance(&[at(0, time, lon_e7)]);
        table.tick(0);
    }
    assert_eq!(moved(&table, view, 1)["left"], json!(["truck-0"]));
    for time in 0..700 {
        table.advance(&[at(1, time, 10)]);
        table.tick(0);
    }
    assert!(!table.is_exact(TENANT_ID, view, 1) && table.is_exact(TENANT_ID, view, 500));
    assert_eq!(moved(&table, view, 500).get("left"), None);
}

#[test]
fn watchers_of_one_filter_share_a_view_and_tenants_do_not() {
    let mut table = table(1);
    let view = table.watch(TENANT_ID, in_area(0, 1), 0);
    assert_ne!(view, WHOLE);
    assert_eq!(table.watch(TENANT_ID, in_area(0, 1), 0), view);
    assert_ne!(table.watch(TENANT_ID, in_area(0, 2), 0), view);
    assert_ne!(table.watch(2, in_area(0, 1), 0), view);
    assert_eq!(table.watch(TENANT_ID, Filter::default(), 0), WHOLE);
    table.advance(&[at(0, 1, 0)]);
    table.tick(0);
    assert_eq!(table.moved(2, view, Json, 0), Vec::<Vec<u8>>::new(), "another tenant's view shows nothing of ours");
}

#[test]
fn views_of_nobody_are_few() {
    let mut table = table(1);
    let views: Vec<ViewId> = (0..100).map(|east| table.watch(TENANT_ID, in_area(0, east), 0)).collect();
    for view in &views {
        table.release(TENANT_ID, *view);
    }
    assert_eq!(views.iter().filter(|view| table.is_exact(TENANT_ID, **view, 0)).count(), 64);
}

#[test]
fn a_tenant_that_is_forgotten_leaves_nothing_and_the_others_all() {
    let mut table = table(2);
    table.load(TENANT_ID + 1, 9, "other", None);
    table.advance(&[position(0, 10), position(1, 11), Position { tenant_id: TENANT_ID + 1, ..position(9, 12) }]);
    let view = table.watch(TENANT_ID, in_area(-1_800_000_000, 1_800_000_000), 20);
    table.advance(&[position(0, 13)]);
    table.forget(TENANT_ID);
    assert_eq!((table.tenants(), table.len()), (vec![TENANT_ID + 1], 1));
    assert_eq!(table.tick(20), vec![TENANT_ID + 1]);
    assert_eq!(snapshot(&mut table, view, 20), (0, Shown::new()));
    assert_eq!(table.geojson(TENANT_ID), table.geojson(77));
    table.release(TENANT_ID, view);
    table.forget(TENANT_ID);
    assert_eq!(table.len(), 1);
}

#[test]
fn an_older_fix_never_replaces_a_newer_one() {
    let mut table = table(1);
    assert_eq!(table.advance(&[position(0, 10), position(0, 5), position(0, 10)]), 1);
    assert_eq!(snapshot(&mut table, WHOLE, 0).1["truck-0"], 10);
}

#[test]
fn a_tick_announces_each_movement_once() {
    let mut table = table(3);
    table.load(2, 7, "other", None);
    assert_eq!(table.tick(0), Vec::<i32>::new());
    table.advance(&[Position { tenant_id: 2, ..position(7, 1) }, position(2, 1), position(0, 1), position(0, 2)]);
    assert_eq!(moved(&table, WHOLE, 0), Value::Null, "not before the tick");
    assert_eq!(table.tick(0), [1, 2]);
    assert_eq!(table.tick(0), Vec::<i32>::new());
    assert_eq!((table.seq(1), table.seq(2), table.seq(3)), (1, 1, 0));
    table.advance(&[position(1, 1)]);
    table.tick(0);
    assert_eq!(names(&moved(&table, WHOLE, 0)), ["truck-0", "truck-1", "truck-2"], "as they became known");
    assert_eq!(names(&moved(&table, WHOLE, 1)), ["truck-1"]);
    assert_eq!(moved(&table, WHOLE, 2), Value::Null);
    assert_eq!(moved(&table, WHOLE, 99), Value::Null);
    assert_eq!(table.moved(3, WHOLE, Json, 0), Vec::<Vec<u8>>::new());
}

#[test]
fn a_snapshot_closes_the_tick_and_the_others_are_told_at_the_next() {
    let mut table = table(2);
    table.advance(&[position(0, 1)]);
    assert_eq!(snapshot(&mut table, WHOLE, 0), (1, Shown::from([("truck-0".into(), 1)])));
    assert_eq!(table.tick(0), [TENANT_ID]);
    assert_eq!((table.seq(TENANT_ID), table.tick(0)), (1, vec![]));
}

#[test]
fn a_device_is_shown_when_its_name_is_known() {
    let mut table = LiveTable::new(RULE);
    assert_eq!(table.advance(&[position(0, 10), position(1, 10)]), 2);
    assert_eq!((table.len(), table.tick(0)), (0, vec![]));
    table.load(TENANT_ID, 0, "behind", Some(position(0, 5).fix));
    table.load(TENANT_ID, 1, "ahead", Some(position(1, 15).fix));
    assert_eq!((table.len(), table.tick(0)), (2, vec![TENANT_ID]));
    assert_eq!(names(&moved(&table, WHOLE, 0)), ["behind"]);
    assert_eq!(snapshot(&mut table, WHOLE, 0).1, Shown::from([("behind".into(), 10), ("ahead".into(), 15)]));
}

#[test]
fn loading_is_not_a_movement() {
    let mut table = LiveTable::new(RULE);
    table.load(TENANT_ID, 0, "a", Some(position(0, 5).fix));
    table.load(TENANT_ID, 0, "b \"renamed\"", Some(position(0, 4).fix));
    assert_eq!((table.len(), table.tick(0)), (1, vec![]));
    assert_eq!(snapshot(&mut table, WHOLE, 0), (0, Shown::from([("b \"renamed\"".into(), 5)])));
    let geojson: Value = serde_json::from_slice(&table.geojson(TENANT_ID)).unwrap();
    assert_eq!(geojson["features"][0]["geometry"], json!({"type": "Point", "coordinates": [11.576_124, 48.137_154]}));
}
