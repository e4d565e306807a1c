//! How long the cache takes to find and to replace an entry: `cargo bench --bench lru`.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints and fails by panicking")]

mod common;

use std::hint::black_box;
use std::num::NonZeroUsize;

use common::median_nanos;
use fleetwire_core::lru::{Found, Lru, Terms};

const ENTRIES: usize = 10_000;

fn main() -> Result<(), &'static str> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing about speed: run `cargo bench`");
    }
    let keys: Vec<Vec<u8>> = (0..2 * ENTRIES).map(|number| format!("tenant/{number:016}").into_bytes()).collect();
    let (first, second) = keys.split_at(ENTRIES);
    let mut lru = Lru::new(NonZeroUsize::new(ENTRIES).expect("it is not"), u64::MAX, 60_000);
    for key in first {
        lru.put(key, 7_u64, Terms::default(), 0);
    }
    assert!(first.iter().all(|key| matches!(lru.get(key, 1), Found::Live(7))), "all fit");
    let get = median_nanos(ENTRIES, || {
        for key in first {
            black_box(matches!(lru.get(black_box(key), 1), Found::Live(_)));
        }
    });
    let mut turn = 0;
    let put = median_nanos(ENTRIES, || {
        turn += 1;
        for key in if turn % 2 == 0 { first } else { second } {
            black_box(lru.put(black_box(key), 7, Terms::default(), 1));
        }
    });
    assert_eq!(lru.len(), ENTRIES, "what is put pushes out the oldest");
    println!("{ENTRIES} entries: get {get} ns, put that pushes out {put} ns");
    Ok(())
}
