//! A bounded map that forgets what was used longest ago, and what is older than its life.
//!
//! For answers that may be stale for a known while, like verified credentials and rendered responses. The order of use
//! is the `lru` crate's. A value may be found by its tags as well, so that all that rest on one thing go at once.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use rustc_hash::FxHashMap;

/// The map. Keys are bytes, compared exactly.
pub struct Lru<V> {
    entries: LruCache<Arc<[u8]>, Entry<V>>,
    /// Keys by tag; a tag without a key is not here.
    tagged: FxHashMap<Arc<[u8]>, BTreeSet<Arc<[u8]>>>,
    ttl_millis: i64,
    max_bytes: u64,
    size_bytes: u64,
}

struct Entry<V> {
    value: V,
    put_at_millis: i64,
    ttl_millis: i64,
    size_bytes: u64,
    tags: Box<[Arc<[u8]>]>,
}

/// What an entry has of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'tags> {
    /// How long the value lives; `None` as long as the map says.
    pub ttl_millis: Option<i64>,
    /// What it counts towards the map's bytes.
    pub size_bytes: u64,
    /// What `remove_tag` finds it by.
    pub tags: &'tags [&'tags [u8]],
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
    pub fn new(capacity: NonZeroUsize, max_bytes: u64, ttl_millis: i64) -> Self {
        Self { entries: LruCache::sparse(capacity), tagged: FxHashMap::default(), ttl_millis, max_bytes, size_bytes: 0 }
    }

    /// Looks up a key, and removes its value if its life is over. O(1).
    pub fn get(&mut self, key: &[u8], now_millis: i64) -> Found<'_, V> {
        match self.entries.get(key).map(|entry| entry.is_live(now_millis)) {
            None => Found::Absent,
            // What was just used is the first in the order: found again without a second look-up.
            Some(true) => self.entries.peek_mru().map_or(Found::Absent, |(_, entry)| Found::Live(&entry.value)),
            Some(false) => self.remove(key).map_or(Found::Absent, Found::Expired),
        }
    }

    /// Stores a value as just used; returns what it replaced or pushed out. O(1) but for the values pushed out.
    ///
    /// A value that alone holds more bytes than the map may is returned itself, and what was under its key is gone.
    pub fn put(&mut self, key: &[u8], value: V, terms: Terms<'_>, now_millis: i64) -> Vec<V> {
        let mut gone: Vec<V> = self.remove(key).into_iter().collect();
        if terms.size_bytes > self.max_bytes {
            gone.push(value);
            return gone;
        }
        if self.entries.len() == self.entries.cap().get() {
            gone.extend(self.pop_oldest());
        }
        while self.size_bytes.saturating_add(terms.size_bytes) > self.max_bytes {
            let Some(oldest) = self.pop_oldest() else { break };
            gone.push(oldest);
        }
        let key: Arc<[u8]> = key.into();
        let entry = Entry {
            value,
            put_at_millis: now_millis,
            ttl_millis: terms.ttl_millis.unwrap_or(self.ttl_millis),
            size_bytes: terms.size_bytes,
            tags: terms.tags.iter().map(|tag| self.tag(tag, &key)).collect(),
        };
        self.size_bytes += terms.size_bytes;
        self.entries.push(key, entry);
        gone
    }

    /// Removes a key; returns its value, whatever its age. O(1).
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (key, entry) = self.entries.pop_entry(key)?;
        Some(self.forget(&key, entry))
    }

    /// Removes every value with a tag and returns them, in the order of their keys.
    pub fn remove_tag(&mut self, tag: &[u8]) -> Vec<V> {
        let keys = self.tagged.remove(tag).unwrap_or_default();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// Empties the map; returns what was in it. O(1), dropping the result is O(n).
    #[must_use = "dropping it drops every value"]
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.entries.cap(), self.max_bytes, self.ttl_millis);
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

    /// What the entries held count together.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Tags with at least one entry.
    pub fn tags(&self) -> usize {
        self.tagged.len()
    }

    fn pop_oldest(&mut self) -> Option<V> {
        let (key, entry) = self.entries.pop_lru()?;
        Some(self.forget(&key, entry))
    }

    /// Notes the key under a tag. Entries share the tag's bytes.
    fn tag(&mut self, tag: &[u8], key: &Arc<[u8]>) -> Arc<[u8]> {
        let shared = self.tagged.get_key_value(tag).map_or_else(|| tag.into(), |(known, _)| Arc::clone(known));
        self.tagged.entry(Arc::clone(&shared)).or_default().insert(Arc::clone(key));
        shared
    }

    /// Takes an entry that has left `entries` out of the books.
    fn forget(&mut self, key: &Arc<[u8]>, entry: Entry<V>) -> V {
        self.size_bytes -= entry.size_bytes;
        for tag in &entry.tags {
            if let Some(keys) = self.tagged.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.tagged.remove(tag);
                }
            }
        }
        entry.value
    }
}

impl<V> Entry<V> {
    /// A clock that was set back makes the age unknown, and an unknown age is too old: a revoked credential must not
    /// live on because of it.
    fn is_live(&self, now_millis: i64) -> bool {
        now_millis.checked_sub(self.put_at_millis).is_some_and(|age_millis| (0..self.ttl_millis).contains(&age_millis))
    }
}
