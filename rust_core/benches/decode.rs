//! How long a batch of JSON takes: the cursor alone, the general reader alone, and `decode`, which tries one and then
//! the other. `cargo bench --bench decode`.
//!
//! The ways are measured in turns, so that a busy machine slows all of them; the median of the turns is told.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints and fails by panicking")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use fleetwire_core::decode::{Limits, cursor, json};

const TURNS: usize = 301;
/// Long enough for the clock, short enough to be seldom interrupted.
const BATCHES_PER_TURN: u32 = 20;
const FIXES: u64 = 50;
const NOW_MILLIS: i64 = 1_763_769_000_000;

/// A style of writing a fix, from its index and a source of numbers.
type Style = fn(&mut String, u64, &mut Dice);

fn main() -> Result<(), &'static str> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing about speed: run `cargo bench`");
    }
    println!("{:<34}{:>7}{:>24}{:>24}{:>24}{:>7}", "50 fixes", "bytes", "cursor", "general", "decode", "ratio");
    let styles: [(&str, &str, Style); 7] = [
        ("orjson, 7 members", "{\"device\":\"truck-7\",\"fixes\":[", compact),
        ("json.dumps, 7 members", "{\"device\": \"truck-7\", \"fixes\": [", spaced),
        ("JSON.stringify, 8 members, doubles", "{\"device\":\"truck-7\",\"fixes\":[", doubles),
        ("17 digits", "{\"device\":\"truck-7\",\"fixes\":[", seventeen_digits),
        ("text as time", "{\"device\":\"truck-7\",\"fixes\":[", text_as_time),
        ("required members only", "{\"device\":\"truck-7\",\"fixes\":[", required),
        ("unknown member (cursor gives up)", "{\"device\":\"truck-7\",\"fixes\":[", unknown),
    ];
    for (name, head, style) in styles {
        let mut dice = Dice(7);
        let mut body = head.to_owned();
        for index in 0..FIXES {
            style(&mut body, index, &mut dice);
            body.push_str(if index + 1 < FIXES { "," } else { "]}" });
            if name.starts_with("json.dumps") && index + 1 < FIXES {
                body.push(' ');
            }
        }
        measure(name, body.as_bytes());
    }
    Ok(())
}

fn measure(name: &str, body: &[u8]) {
    let limits = Limits::new(10_000, NOW_MILLIS, 600_000, 0);
    let general = json::decode_any(body, limits).expect("a batch");
    assert_eq!(general.rejects, [], "a bench of faults is another bench");
    assert!(cursor::decode(body, limits).is_none_or(|batch| batch == general));
    let mut nanos: [Vec<u128>; 3] = Default::default();
    for _ in 0..TURNS {
        let [cursor_nanos, general_nanos, decode_nanos] = &mut nanos;
        cursor_nanos.push(turn(|| drop(black_box(cursor::decode(black_box(body), limits)))));
        general_nanos.push(turn(|| drop(black_box(json::decode_any(black_box(body), limits)))));
        decode_nanos.push(turn(|| drop(black_box(json::decode(black_box(body), limits)))));
    }
    let [cursor, general, decode] = nanos.map(|mut nanos| {
        nanos.sort_unstable();
        nanos.get(TURNS / 2).copied().unwrap_or_default()
    });
    let bytes = body.len() as u128;
    print!("{name:<34}{bytes:>7}");
    for nanos in [cursor, general, decode] {
        print!("{nanos:>10} ns{:>6} MB/s", bytes * 1000 / nanos);
    }
    println!("{:>5}.{:02}", general / decode, general * 100 / decode % 100);
}

/// Nanoseconds of one call.
fn turn(work: impl Fn()) -> u128 {
    #[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
    let start = Instant::now();
    for _ in 0..BATCHES_PER_TURN {
        work();
    }
    start.elapsed().as_nanos() / u128::from(BATCHES_PER_TURN)
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "below 2^31")]
        let share = self.below(1 << 31) as f64 / f64::from(1_u32 << 31);
        share
    }
}

fn millis(index: u64) -> u64 {
    1_763_768_400_000 + index * 5_003
}

fn compact(out: &mut String, index: u64, dice: &mut Dice) {
    write!(
        out,
        r#"{{"timestamp":{},"latitude":48.{:06},"longitude":11.{:06},"accuracy":{}.{},"altitude":{}.{},"heading":{}.{},"speed":{}.{}}}"#,
        millis(index), 137_154 + dice.below(90_000), 576_124 + dice.below(90_000), dice.below(20), dice.below(10),
        519 + dice.below(9), dice.below(10), dice.below(360), dice.below(10), dice.below(30), dice.below(100),
    )
    .ok();
}

fn spaced(out: &mut String, index: u64, dice: &mut Dice) {
    let mut fix = String::new();
    compact(&mut fix, index, dice);
    out.push_str(&fix.replace(':', ": ").replace(',', ", "));
}

/// What a browser computes and prints as it is: fifteen and more digits.
fn doubles(out: &mut String, index: u64, dice: &mut Dice) {
    write!(
        out,
        r#"{{"timestamp":{},"latitude":{},"longitude":{},"accuracy":{},"altitude":null,"heading":{},"speed":{},"battery":0.{}}}"#,
        millis(index), 48.0 + dice.share() / 10.0, 11.0 + dice.share() / 10.0, 20.0 * dice.share(),
        360.0 * dice.share(), 30.0 * dice.share(), dice.below(99) + 1,
    )
    .ok();
}

fn seventeen_digits(out: &mut String, index: u64, dice: &mut Dice) {
    write!(
        out,
        r#"{{"timestamp":{},"latitude":48.{:015},"longitude":11.{:015}}}"#,
        millis(index),
        dice.below(1 << 31) * 465_661 + 1,
        dice.below(1 << 31) * 465_661 + 1,
    )
    .ok();
}

fn text_as_time(out: &mut String, index: u64, dice: &mut Dice) {
    let (minute, second) = (index / 60, index % 60);
    write!(
        out,
        r#"{{"timestamp":"2025-11-21T23:{minute:02}:{second:02}.{:03}Z","latitude":48.{:06},"longitude":11.{:06}}}"#,
        dice.below(1000),
        dice.below(1_000_000),
        dice.below(1_000_000),
    )
    .ok();
}

fn required(out: &mut String, index: u64, dice: &mut Dice) {
    write!(
        out,
        r#"{{"timestamp":{},"latitude":48.{:06},"longitude":11.{:06}}}"#,
        millis(index),
        dice.below(1_000_000),
        dice.below(1_000_000),
    )
    .ok();
}

fn unknown(out: &mut String, index: u64, dice: &mut Dice) {
    compact(out, index, dice);
    if index + 1 == FIXES {
        out.pop();
        out.push_str(r#","odometer":81234}"#);
    }
}
