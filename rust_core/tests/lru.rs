//! `Lru` against a plain model: a list in the order of use.

use std::num::NonZeroUsize;

use fleetwire_core::lru::{Found, Lru, Terms};
use proptest::prelude::*;

const TTL_MILLIS: i64 = 50;
const PLAIN: Terms<'static> = Terms { ttl_millis: None, size_bytes: 0, tags: &[] };

#[derive(Clone, Debug)]
enum Act {
    Get(u8),
    Put(Entry),
    Remove(u8),
    RemoveTag(u8),
    Clear,
    /// Mostly forward, now and then back.
    Wait(i64),
}

#[derive(Clone, Debug)]
struct Entry {
    key: u8,
    value: u32,
    ttl_millis: Option<i64>,
    size_bytes: u64,
    tags: Vec<u8>,
}

fn any_act() -> impl Strategy<Value = Act> {
    let key = 0..12_u8;
    let tags = prop::collection::vec(0..4_u8, 0..3);
    let entry = (key.clone(), any::<u32>(), prop::option::of(1..100_i64), 0..60_u64, tags)
        .prop_map(|(key, value, ttl_millis, size_bytes, tags)| Entry { key, value, ttl_millis, size_bytes, tags });
    prop_oneof![
        6 => key.clone().prop_map(Act::Get),
        6 => entry.prop_map(Act::Put),
        1 => key.prop_map(Act::Remove),
        1 => (0..4_u8).prop_map(Act::RemoveTag),
        1 => Just(Act::Clear),
        3 => (-10..40_i64).prop_map(Act::Wait),
    ]
}

/// (entry, put at), the most recently used last.
#[derive(Default)]
struct Model(Vec<(Entry, i64)>);

impl Model {
    fn take(&mut self, key: u8) -> Option<(Entry, i64)> {
        let at = self.0.iter().position(|(entry, _)| entry.key == key)?;
        Some(self.0.remove(at))
    }

    fn get(&mut self, key: u8, now: i64) -> Found<'static, u32> {
        match self.take(key) {
            None => Found::Absent,
            Some((entry, put_at)) if now < put_at || now >= put_at + entry.ttl_millis.unwrap_or(TTL_MILLIS) => {
                Found::Expired(entry.value)
            }
            Some(kept) => {
                let value = kept.0.value;
                self.0.push(kept);
                Found::Live(Box::leak(Box::new(value)))
            }
        }
    }

    fn put(&mut self, entry: Entry, now: i64, capacity: usize, max_bytes: u64) -> Vec<u32> {
        let mut gone: Vec<u32> = self.take(entry.key).map(|(old, _)| old.value).into_iter().collect();
        if entry.size_bytes > max_bytes {
            gone.push(entry.value);
            return gone;
        }
        while self.0.len() == capacity || self.size_bytes() + entry.size_bytes > max_bytes {
            gone.push(self.0.remove(0).0.value);
        }
        self.0.push((entry, now));
        gone
    }

    fn remove_tag(&mut self, tag: u8) -> Vec<u32> {
        let mut gone: Vec<Entry> =
            self.0.extract_if(.., |(entry, _)| entry.tags.contains(&tag)).map(|(entry, _)| entry).collect();
        gone.sort_by_key(|entry| entry.key);
        gone.into_iter().map(|entry| entry.value).collect()
    }

    fn size_bytes(&self) -> u64 {
        self.0.iter().map(|(entry, _)| entry.size_bytes).sum()
    }

    fn tags(&self) -> usize {
        let mut tags: Vec<u8> = self.0.iter().flat_map(|(entry, _)| entry.tags.clone()).collect();
        tags.sort_unstable();
        tags.dedup();
        tags.len()
    }
}

fn put(lru: &mut Lru<u32>, entry: &Entry, now: i64) -> Vec<u32> {
    let tags: Vec<[u8; 1]> = entry.tags.iter().map(|tag| [*tag]).collect();
    let tags: Vec<&[u8]> = tags.iter().map(<[u8; 1]>::as_slice).collect();
    let terms = Terms { ttl_millis: entry.ttl_millis, size_bytes: entry.size_bytes, tags: &tags };
    lru.put(&[entry.key], entry.value, terms, now)
}

proptest! {
    #[test]
    fn behaves_like_the_model(
        capacity in 1..8_usize,
        max_bytes in prop_oneof![Just(u64::MAX), 0..200_u64],
        acts in prop::collection::vec(any_act(), 0..200),
    ) {
        let mut lru = Lru::new(NonZeroUsize::new(capacity).unwrap(), max_bytes, TTL_MILLIS);
        let mut model = Model::default();
        let mut now = 1_000_i64;
        for act in acts {
            match act {
                Act::Get(key) => prop_assert_eq!(lru.get(&[key], now), model.get(key, now)),
                Act::Put(entry) => {
                    prop_assert_eq!(put(&mut lru, &entry, now), model.put(entry, now, capacity, max_bytes));
                }
                Act::Remove(key) => prop_assert_eq!(lru.remove(&[key]), model.take(key).map(|(entry, _)| entry.value)),
                Act::RemoveTag(tag) => prop_assert_eq!(lru.remove_tag(&[tag]), model.remove_tag(tag)),
                Act::Clear => prop_assert_eq!(lru.take().len(), std::mem::take(&mut model.0).len()),
                Act::Wait(millis) => now += millis,
            }
            prop_assert_eq!(lru.len(), model.0.len());
            prop_assert_eq!(lru.size_bytes(), model.size_bytes());
            prop_assert_eq!(lru.tags(), model.tags());
            prop_assert!(lru.len() <= capacity && lru.size_bytes() <= max_bytes);
        }
    }
}

#[test]
fn a_value_lives_until_its_life_is_over_and_not_a_millisecond_longer() {
    let mut lru = Lru::new(NonZeroUsize::MIN, u64::MAX, TTL_MILLIS);
    lru.put(b"key", 7, PLAIN, 100);
    assert_eq!(lru.get(b"key", 149), Found::Live(&7));
    assert_eq!(lru.get(b"key", 150), Found::Expired(7));
    assert_eq!(lru.get(b"key", 150), Found::Absent);
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let mut lru = Lru::new(NonZeroUsize::MIN, u64::MAX, i64::MAX);
    lru.put(b"key", 7, PLAIN, i64::MIN);
    assert_eq!(lru.get(b"key", i64::MAX), Found::Expired(7));
    lru.put(b"key", 8, PLAIN, i64::MAX);
    assert_eq!(lru.get(b"key", i64::MIN), Found::Expired(8));
}

#[test]
fn what_is_larger_than_the_map_is_not_kept_and_pushes_nothing_out_but_its_own_key() {
    let mut lru = Lru::new(NonZeroUsize::new(9).unwrap(), 10, TTL_MILLIS);
    let sized = |size_bytes| Terms { size_bytes, ..PLAIN };
    lru.put(b"other", 1, sized(4), 0);
    lru.put(b"key", 2, sized(4), 0);
    assert_eq!(lru.put(b"key", 3, sized(11), 0), [2, 3]);
    assert_eq!((lru.len(), lru.size_bytes()), (1, 4));
    assert_eq!(lru.put(b"key", 4, sized(u64::MAX), 0), [4]);
    assert_eq!(lru.get(b"other", 0), Found::Live(&1));
}

#[test]
fn a_key_that_is_put_again_has_the_tags_of_its_last_put_only() {
    let mut lru = Lru::new(NonZeroUsize::MIN, u64::MAX, TTL_MILLIS);
    lru.put(b"key", 1, Terms { tags: &[b"old", b"old"], ..PLAIN }, 0);
    lru.put(b"key", 2, Terms { tags: &[b"new"], ..PLAIN }, 0);
    assert_eq!(lru.remove_tag(b"old"), [] as [i32; 0]);
    assert_eq!(lru.remove_tag(b"new"), [2]);
    assert_eq!(lru.tags(), 0);
}
