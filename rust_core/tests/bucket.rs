//! `Buckets` against `governor`, against a plain token bucket, and against the vectors that the Lua script passes too.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use fleetwire_core::bucket::{Buckets, Charge, Rate, Refusal, Verdict};
use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};
use proptest::prelude::*;
use serde_json::Value;

const VECTORS: &str = include_str!("../../tests/core/bucket_vectors.json");

fn charge(buckets: &Buckets, rate: Rate, key: &str, cost: u32) -> Charge {
    Charge { rate, print: buckets.print("policy", "scope", key), cost }
}

/// Key, microseconds since the last take, cost.
type Take = (u8, i64, u32);

/// The interval of one unit, the burst, and takes of at most that.
fn any_takes() -> impl Strategy<Value = (i64, u32, Vec<Take>)> {
    (1..2_000_i64, 1..50_u32).prop_flat_map(|(interval, burst)| {
        let pause = prop_oneof![3 => Just(0), 3 => 0..=interval, 2 => 0..=interval * i64::from(burst) * 2];
        let take = (0..4_u8, pause, 1..=burst);
        (Just(interval), Just(burst), prop::collection::vec(take, 1..200))
    })
}

proptest! {
    /// Where a unit takes whole microseconds, nothing is rounded and the answers are the same.
    #[test]
    fn it_answers_as_governor_does((interval, burst, takes) in any_takes()) {
        let rate = Rate::new(1, interval, burst).unwrap();
        let clock = FakeRelativeClock::default();
        let quota = Quota::with_period(Duration::from_micros(interval.unsigned_abs())).unwrap();
        let oracle = RateLimiter::hashmap_with_clock(quota.allow_burst(NonZeroU32::new(burst).unwrap()), clock.clone());
        let mut buckets = Buckets::new(100);
        let mut now = 1;
        for (key, pause, cost) in takes {
            now += pause;
            clock.advance(Duration::from_micros(pause.unsigned_abs()));
            let expected = oracle.check_key_n(&key, NonZeroU32::new(cost).unwrap()).unwrap().is_ok();
            let charge = charge(&buckets, rate, &key.to_string(), cost);
            prop_assert_eq!(buckets.take(&[charge], now).is_ok(), expected);
        }
    }

    /// What was taken from the start, and in any span after it, is the burst and what flowed in; at most a debt more.
    #[test]
    fn it_gives_no_more_than_burst_and_quota(
        (quota, period, burst) in (1..5_000_u32, 1..5_000_000_i64, 1..500_u32),
        takes in prop::collection::vec((0..100_000_i64, 1..1_000_u32), 1..200),
    ) {
        let rate = Rate::new(quota, period, burst).unwrap();
        let (mut full_at, mut now, mut taken) = (0, 1, 0_i64);
        let started = now;
        for (pause, cost) in takes {
            now += pause;
            if let Verdict::Allowed { full_at_micros } = rate.judge(full_at, cost, now) {
                let debt = i64::from(cost.saturating_sub(burst));
                prop_assert!(debt == 0 || full_at <= now);
                full_at = full_at_micros;
                taken += i64::from(cost);
                let flowed = i128::from(now - started) * i128::from(quota) / i128::from(period);
                prop_assert!(i128::from(taken) <= i128::from(burst) + i128::from(debt) + flowed + 1);
            }
        }
    }

    #[test]
    fn a_refused_cost_is_there_after_the_wait_and_not_before(
        (quota, period, burst) in (1..5_000_u32, 1..5_000_000_i64, 1..500_u32), full_at in 0..10_000_000_i64, cost in 1..1_000_u32,
    ) {
        let rate = Rate::new(quota, period, burst).unwrap();
        if let Verdict::Refused { wait_micros } = rate.judge(full_at, cost, 1_000) {
            prop_assert!(wait_micros >= 1);
            let allowed = |now| matches!(rate.judge(full_at, cost, now), Verdict::Allowed { .. });
            prop_assert!(allowed(1_000 + wait_micros));
            prop_assert!(!allowed(1_000 + wait_micros - 1));
        }
    }

    /// As long as there is room, a small table answers like a map that forgets nothing.
    #[test]
    fn it_forgets_nothing_that_matters(takes in prop::collection::vec((0..400_u32, 0..3_000_i64, 1..4_u32), 1..2_000)) {
        let rate = Rate::new(1, 1_000, 10).unwrap();
        let (mut buckets, mut model, mut now) = (Buckets::new(100), HashMap::<u32, i64>::new(), 1);
        for (key, pause, cost) in takes {
            now += pause;
            let full_at = model.get(&key).copied().unwrap_or_default();
            let verdict = rate.judge(full_at, cost, now);
            if let Verdict::Allowed { full_at_micros } = verdict {
                model.insert(key, full_at_micros);
            }
            let charge = charge(&buckets, rate, &key.to_string(), cost);
            prop_assert_eq!(buckets.take(&[charge], now).is_ok(), matches!(verdict, Verdict::Allowed { .. }));
        }
        prop_assert_eq!(buckets.evicted(), 0);
    }

    #[test]
    fn no_numbers_make_it_panic(
        (quota, period, burst) in (any::<u32>(), 0..1_i64 << 36, any::<u32>().prop_map(|burst| burst >> 12)),
        full_at in any::<i64>(),
        cost in any::<u32>(),
        now in any::<i64>(),
    ) {
        if let Some(rate) = Rate::new(quota, period, burst) {
            rate.judge(full_at, cost, now);
            rate.left(full_at, now);
        }
    }
}

#[test]
fn it_passes_the_vectors() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let number = |value: &Value| value.as_i64().unwrap();
    for vector in vectors.as_array().unwrap() {
        let rate = |value: &Value| {
            let [quota, burst] = [&value[0], &value[2]].map(|each| u32::try_from(number(each)).unwrap());
            Rate::new(quota, number(&value[1]), burst).unwrap()
        };
        let rates: Vec<Rate> = vector["rates"].as_array().unwrap().iter().map(rate).collect();
        let mut buckets = Buckets::new(100);
        for take in vector["takes"].as_array().unwrap() {
            let (now, cost) = (number(&take["now_micros"]), u32::try_from(number(&take["cost"])).unwrap());
            let charges: Vec<Charge> =
                rates.iter().enumerate().map(|(at, rate)| charge(&buckets, *rate, &at.to_string(), cost)).collect();
            let expected = match number(&take["refused_by"]) {
                -1 => Ok(()),
                index => {
                    Err(Refusal { index: usize::try_from(index).unwrap(), wait_micros: number(&take["wait_micros"]) })
                }
            };
            if take["force"] == Value::Bool(true) {
                // The core leaves this to the script, and is told afterwards how far a shared bucket is drained.
                for (charge, left) in charges.iter().zip(take["left"].as_array().unwrap()) {
                    buckets.settle(charge.print, now + number(&left[1]), now);
                }
            } else {
                assert_eq!(buckets.take(&charges, now), expected, "{}: {take}", vector["name"]);
            }
            for (charge, expected) in charges.iter().zip(take["left"].as_array().unwrap()) {
                let left = buckets.left(&charge.rate, charge.print, now);
                let expected = (number(&expected[0]), number(&expected[1]));
                assert_eq!((left.remaining, left.reset_micros), expected, "{}: {take}", vector["name"]);
            }
        }
    }
}

#[test]
fn a_refused_take_takes_from_no_bucket() {
    let (wide, narrow) = (Rate::new(10, 1_000_000, 10).unwrap(), Rate::new(1, 1_000_000, 1).unwrap());
    let mut buckets = Buckets::new(10);
    let both = [charge(&buckets, wide, "wide", 1), charge(&buckets, narrow, "narrow", 1)];
    assert_eq!(buckets.take(&both, 1), Ok(()));
    assert_eq!(buckets.take(&both, 1), Err(Refusal { index: 1, wait_micros: 1_000_000 }));
    assert_eq!(buckets.left(&wide, both[0].print, 1).remaining, 9);
}

#[test]
fn a_flood_of_new_keys_does_not_free_a_drained_bucket() {
    let rate = Rate::new(100, 60_000_000, 100).unwrap();
    let mut buckets = Buckets::new(64);
    let drained = charge(&buckets, rate, "drained", 100);
    assert_eq!(buckets.take(&[drained], 1), Ok(()));
    for number in 0..100_000 {
        let once = charge(&buckets, rate, &format!("flood-{number}"), 1);
        assert_eq!(buckets.take(&[once], 1), Ok(()));
    }
    assert!(buckets.evicted() > 90_000);
    assert!(buckets.drained(1) <= 192);
    assert!(buckets.take(&[charge(&buckets, rate, "drained", 1)], 1).is_err());
}

#[test]
fn a_million_live_keys_fit_into_their_memory() {
    let rate = Rate::new(1, 3_600_000_000, 10).unwrap();
    let mut buckets = Buckets::new(1_000_000);
    for number in 0..1_000_000 {
        let once = charge(&buckets, rate, &number.to_string(), 1);
        assert_eq!(buckets.take(&[once], 1), Ok(()));
    }
    assert_eq!((buckets.drained(2), buckets.evicted()), (1_000_000, 0));
    assert!(buckets.size_bytes() < 50_000_000);
}

#[test]
fn rates_are_plausible() {
    for (quota, period, burst) in [(0, 1, 1), (1, 0, 1), (1, -1, 1), (1, 1, 0), (1, i64::MAX, 1), (1, 1 << 40, 1 << 14)]
    {
        assert_eq!(Rate::new(quota, period, burst), None);
    }
}
