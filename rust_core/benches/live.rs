//! What a tick costs: announcing 2,500 movements of 10,000 devices with and without views, and the frames of it in both
//! formats. `cargo bench --bench live`.
//!
//! Every result is looked at before it is timed. The median of the turns is told.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints and fails by panicking")]

use std::hint::black_box;
use std::time::Instant;

use fleetwire_core::area::Area;
use fleetwire_core::filter::{Filter, StatusRule};
use fleetwire_core::fix::{Fix, NONE_I16, NONE_I32};
use fleetwire_core::frame::Format;
use fleetwire_core::live::{LiveTable, Position, ViewId, WHOLE};

const TURNS: usize = 101;
const TENANT_ID: i32 = 1;
const DEVICES: i64 = 10_000;
const START_MILLIS: i64 = 1_763_768_400_000;
const VIEWPORTS: i32 = 1_000;

fn main() -> Result<(), &'static str> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing about speed: run `cargo bench`");
    }
    let mut fleet = Fleet::new();
    fleet.moving("a tick of 2,500 movements", 2_500);
    frames(&mut fleet, 2_500);
    frames(&mut fleet, DEVICES);

    let all = fleet.table.watch(TENANT_ID, Filter { area: Some(around(0, 1_000)), ..Filter::default() }, START_MILLIS);
    assert_eq!(positions(&mut fleet.table, all), fleet.count_in(around(0, 1_000)), "the area shows who stands in it");
    fleet.moving("the same, one area of everything", 2_500);
    fleet.table.release(TENANT_ID, all);

    let town = around(3, 4);
    let view = fleet.table.watch(TENANT_ID, Filter { area: Some(town), ..Filter::default() }, START_MILLIS);
    let shown = fleet.count_in(town);
    assert_eq!(positions(&mut fleet.table, view), shown, "the viewport shows who stands in it");
    fleet.moving("the same, and a town's viewport", 2_500);
    for place in 1..VIEWPORTS {
        let filter = Filter { area: Some(around(place % 60 - 30, 4)), devices: None, ..Filter::default() };
        let filter =
            Filter { area: filter.area.map(|area| Area { north_e7: area.north_e7 + place, ..area }), ..filter };
        fleet.table.watch(TENANT_ID, filter, START_MILLIS);
    }
    fleet.moving("the same, 1,000 towns' viewports", 2_500);
    println!("{shown} of {DEVICES} devices are in the first town");
    Ok(())
}

/// Devices spread over a country, most of them in its middle.
struct Fleet {
    table: LiveTable,
    at_millis: i64,
    places: Vec<(i32, i32)>,
    next: usize,
}

impl Fleet {
    fn new() -> Self {
        let mut table = LiveTable::new(StatusRule { moving_cmps: 80, offline_millis: 120_000 });
        let mut dice = Dice(7);
        let places: Vec<(i32, i32)> = (0..DEVICES)
            .map(|_| (500_000_000 + dice.around(40_000_000), 100_000_000 + dice.around(60_000_000)))
            .collect();
        for device_id in 0..DEVICES {
            table.load(TENANT_ID, device_id, &format!("truck-{device_id}"), None);
        }
        let mut fleet = Self { table, at_millis: START_MILLIS, places, next: 0 };
        fleet.drive(DEVICES);
        fleet.table.tick(START_MILLIS);
        fleet
    }

    /// The next devices move a little, in turn.
    fn drive(&mut self, devices: i64) {
        self.at_millis += 250;
        let mut moves = Vec::new();
        for _ in 0..devices {
            let at = self.next;
            self.next = (at + 1) % self.places.len();
            let Some(place) = self.places.get_mut(at) else { continue };
            let small = i16::try_from(at % 1_000).unwrap_or_default();
            *place = (place.0 + i32::from(small) - 500, place.1 + 300);
            let fix = Fix {
                fixed_at_millis: self.at_millis + i64::from(small) * 5,
                lat_e7: place.0,
                lon_e7: place.1,
                altitude_dm: NONE_I32,
                speed_cmps: small * 3,
                heading_cdeg: small * 17,
                accuracy_dm: 50,
                battery_permille: NONE_I16,
            };
            let device_id = i64::try_from(at).unwrap_or_default();
            moves.push(Position { tenant_id: TENANT_ID, device_id, fix });
        }
        assert_eq!(self.table.advance(&moves), moves.len(), "every device moved forward");
    }

    fn count_in(&self, area: Area) -> usize {
        self.places.iter().filter(|(lat_e7, lon_e7)| area.contains(*lat_e7, *lon_e7)).count()
    }

    fn moving(&mut self, name: &str, devices: i64) {
        let mut nanos = Vec::new();
        for _ in 0..TURNS {
            self.drive(devices);
            let start = now();
            let told = self.table.tick(START_MILLIS);
            nanos.push(start.elapsed().as_nanos());
            assert_eq!(told, [TENANT_ID]);
        }
        println!("{name:<38}{:>10} us", median(nanos) / 1_000);
    }
}

fn frames(fleet: &mut Fleet, devices: i64) {
    for (name, format) in [("JSON", Format::Json), ("row", Format::Rows), ("Protobuf", Format::Protobuf)] {
        fleet.drive(devices);
        fleet.table.tick(START_MILLIS);
        let since_seq = fleet.table.seq(TENANT_ID) - 1;
        let messages = fleet.table.moved(TENANT_ID, WHOLE, format, since_seq);
        let bytes: usize = messages.iter().map(Vec::len).sum();
        if format == Format::Json {
            let told: usize = messages.iter().map(|message| count(message, b"{\"device\"")).sum();
            assert_eq!(Ok(told), usize::try_from(devices), "every device that moved is in the frame");
        }
        let mut nanos = Vec::new();
        for _ in 0..TURNS {
            let start = now();
            black_box(fleet.table.moved(TENANT_ID, WHOLE, format, black_box(since_seq)));
            nanos.push(start.elapsed().as_nanos());
        }
        let nanos = median(nanos);
        let positions = u128::from(devices.unsigned_abs());
        println!(
            "{:<38}{:>10} us{:>8} ns and {:>3} bytes a position, {} messages",
            format!("a {name} frame of {devices} positions"),
            nanos / 1_000,
            nanos / positions,
            bytes as u128 / positions,
            messages.len()
        );
    }
}

fn positions(table: &mut LiveTable, view: ViewId) -> usize {
    let messages = table.snapshot(TENANT_ID, view, Format::Json, "e", START_MILLIS);
    messages.iter().map(|message| count(message, b"{\"device\"")).sum()
}

fn count(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).filter(|window| *window == part).count()
}

/// An area around the country's middle, shifted eastwards, `size` tenths of a degree in all directions.
fn around(shift: i32, size: i32) -> Area {
    let (lat_e7, lon_e7) = (500_000_000, 100_000_000 + shift * 1_000_000);
    let reach = size * 1_000_000;
    Area {
        west_e7: lon_e7 - reach,
        south_e7: (lat_e7 - reach).max(-900_000_000),
        east_e7: lon_e7 + reach,
        north_e7: (lat_e7 + reach).min(900_000_000),
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
    Instant::now()
}

fn median(mut nanos: Vec<u128>) -> u128 {
    nanos.sort_unstable();
    nanos.get(TURNS / 2).copied().unwrap_or_default()
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Within `reach` of 0, nearer to it more often.
    fn around(&mut self, reach: u64) -> i32 {
        let sum: u64 = (0..3).map(|_| self.below(2 * reach)).sum();
        i32::try_from(sum / 3).unwrap_or_default() - i32::try_from(reach).unwrap_or_default()
    }
}
