//! `Lru` against a plain model: a list in the order of use.

use std::num::NonZeroUsize;

use fleetwire_core::lru::{Found, Lru};
use proptest::prelude::*;

const TTL_MILLIS: i64 = 50;

#[derive(Clone, Debug)]
enum Act {
    Get(u8),
    Put(u8, u32),
    Remove(u8),
    Clear,
    /// Mostly forward, now and then back.
    Wait(i64),
}

fn any_act() -> impl Strategy<Value = Act> {
    let key = 0..12_u8;
    prop_oneof![
        6 => key.clone().prop_map(Act::Get),
        6 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Act::Put(key, value)),
        1 => key.prop_map(Act::Remove),
        1 => Just(Act::Clear),
        3 => (-10..40_i64).prop_map(Act::Wait),
    ]
}

/// (key, value, put at), the most recently used last.
#[derive(Default)]
struct Model(Vec<(u8, u32, i64)>);

impl Model {
    fn take(&mut self, key: u8) -> Option<(u8, u32, i64)> {
        let at = self.0.iter().position(|entry| entry.0 == key)?;
        Some(self.0.remove(at))
    }

    fn get(&mut self, key: u8, now: i64) -> Found<'static, u32> {
        match self.take(key) {
            None => Found::Absent,
            Some((_, value, put_at)) if now < put_at || now >= put_at + TTL_MILLIS => Found::Expired(value),
            Some(entry) => {
                self.0.push(entry);
                Found::Live(Box::leak(Box::new(entry.1)))
            }
        }
    }

    fn put(&mut self, key: u8, value: u32, now: i64, capacity: usize) -> Option<u32> {
        let mut gone = self.take(key);
        if gone.is_none() && self.0.len() == capacity {
            gone = Some(self.0.remove(0));
        }
        self.0.push((key, value, now));
        gone.map(|entry| entry.1)
    }
}

proptest! {
    #[test]
    fn behaves_like_the_model(capacity in 1..8_usize, acts in prop::collection::vec(any_act(), 0..200)) {
        let mut lru = Lru::new(NonZeroUsize::new(capacity).unwrap(), TTL_MILLIS);
        let mut model = Model::default();
        let mut now = 1_000_i64;
        for act in acts {
            match act {
                Act::Get(key) => prop_assert_eq!(lru.get(&[key], now), model.get(key, now)),
                Act::Put(key, value) => prop_assert_eq!(lru.put(&[key], value, now), model.put(key, value, now, capacity)),
                Act::Remove(key) => prop_assert_eq!(lru.remove(&[key]), model.take(key).map(|entry| entry.1)),
                Act::Clear => prop_assert_eq!(lru.take().len(), std::mem::take(&mut model.0).len()),
                Act::Wait(millis) => now += millis,
            }
            prop_assert_eq!(lru.len(), model.0.len());
            prop_assert!(lru.len() <= capacity);
        }
    }
}

#[test]
fn a_value_lives_until_its_life_is_over_and_not_a_millisecond_longer() {
    let mut lru = Lru::new(NonZeroUsize::MIN, TTL_MILLIS);
    lru.put(b"key", 7, 100);
    assert_eq!(lru.get(b"key", 149), Found::Live(&7));
    assert_eq!(lru.get(b"key", 150), Found::Expired(7));
    assert_eq!(lru.get(b"key", 150), Found::Absent);
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let mut lru = Lru::new(NonZeroUsize::MIN, i64::MAX);
    lru.put(b"key", 7, i64::MIN);
    assert_eq!(lru.get(b"key", i64::MAX), Found::Expired(7));
    lru.put(b"key", 8, i64::MAX);
    assert_eq!(lru.get(b"key", i64::MIN), Found::Expired(8));
}
