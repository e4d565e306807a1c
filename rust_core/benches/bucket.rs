//! How long a decision takes on a table of a million live keys: `cargo bench --bench bucket`.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints and fails by panicking")]

use std::hint::black_box;
use std::time::Instant;

use fleetwire_core::bucket::{Buckets, Charge, Rate};

const KEYS: usize = 1_000_000;
const TURNS: usize = 15;
const PER_TURN: usize = 100_000;
const MAX_BYTES: usize = 150_000_000;

fn main() -> Result<(), &'static str> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing about speed: run `cargo bench`");
    }
    // Slow enough that no bucket is full again before the end.
    let rate = Rate::new(100, 3_600_000_000, 1_000).ok_or("the rate is plausible")?;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("device-{number:07}")).collect();
    let mut buckets = Buckets::new(KEYS);
    let mut take = |key: &str, now_micros: i64| {
        let print = buckets.print("bench", "acme", key);
        buckets.take(&[Charge { rate, print, cost: 1 }], now_micros).is_ok()
    };
    assert!(keys.iter().all(|key| take(key, 1)), "a new bucket is full");

    let mut nanos: Vec<u128> = Vec::with_capacity(TURNS);
    // A step that meets every key, far from the one before.
    let mut order = (0..KEYS).cycle().filter_map(|number| keys.get(number * 7_919 % KEYS));
    for turn in 0..TURNS {
        #[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
        let started = Instant::now();
        for key in order.by_ref().take(PER_TURN) {
            black_box(take(black_box(key), 2 + i64::try_from(turn).unwrap_or_default()));
        }
        nanos.push(started.elapsed().as_nanos() / PER_TURN as u128);
    }
    nanos.sort_unstable();
    assert_eq!((buckets.drained(100), buckets.evicted()), (KEYS, 0), "every key is held");
    assert!(buckets.size_bytes() < MAX_BYTES);
    println!("{KEYS} keys in {} bytes, {} ns a decision", buckets.size_bytes(), nanos.get(TURNS / 2).unwrap_or(&0));
    Ok(())
}
