//! A bounded map that forgets what was used longest ago, and what is older than its life.
//!
//! For answers that may be stale for a known while, like verified credentials. The order of use is the `lru` crate's.

use std::num::NonZeroUsize;

use lru::LruCache;

/// The map. Keys are bytes, compared exactly.
pub struct Lru<V> {
    entries: LruCache<Box<[u8]>, Entry<V>>,
    ttl_millis: i64,
}

struct Entry<V> {
    value: V,
    put_at_millis: i64,
}

/// What was found under a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'map, V> {
    /// A value within its life; it counts as just used.
    Live(&'map V),
    /// A value that was too old. It is handed out, so that the caller may drop it where dropping is safe.
    Expired(V),
    /// Nothing.
    Absent,
}

impl<V> Lru<V> {
    /// An empty map. A value lives `ttl_millis` from its `put`; memory is taken as entries come.
    pub fn new(capacity: NonZeroUsize, ttl_millis: i64) -> Self {
        Self { entries: LruCache::sparse(capacity), ttl_millis }
    }

    /// Looks up a key, and removes its value if its life is over. O(1).
    pub fn get(&mut self, key: &[u8], now_millis: i64) -> Found<'_, V> {
        let ttl_millis = self.ttl_millis;
        match self.entries.peek(key) {
            None => Found::Absent,
            Some(entry) if entry.is_live(ttl_millis, now_millis) => {
                self.entries.get(key).map_or(Found::Absent, |entry| Found::Live(&entry.value))
            }
            Some(_) => self.entries.pop(key).map_or(Found::Absent, |entry| Found::Expired(entry.value)),
        }
    }

    /// Stores a value as just used; returns the one it replaced or pushed out. O(1).
    pub fn put(&mut self, key: &[u8], value: V, now_millis: i64) -> Option<V> {
        let entry = Entry { value, put_at_millis: now_millis };
        self.entries.push(key.into(), entry).map(|(_, entry)| entry.value)
    }

    /// Removes a key; returns its value, whatever its age. O(1).
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.entries.pop(key).map(|entry| entry.value)
    }

    /// Empties the map; returns what was in it. O(1), dropping the result is O(n).
    #[must_use = "dropping it drops every value"]
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.entries.cap(), self.ttl_millis);
        std::mem::replace(self, empty)
    }

    /// Entries held, those included whose life is over but that nobody asked for since.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<V> Entry<V> {
    /// A clock that was set back makes the age unknown, and an unknown age is too old: a revoked credential must not
    /// live on because of it.
    fn is_live(&self, ttl_millis: i64, now_millis: i64) -> bool {
        now_millis.checked_sub(self.put_at_millis).is_some_and(|age_millis| (0..ttl_millis).contains(&age_millis))
    }
}
