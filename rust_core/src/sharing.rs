//! Frames that several watchers get: made once, handed out until the tenant's next tick.

use rustc_hash::FxHashMap;

use crate::frame::Format;
use crate::live::ViewId;

/// Bytes of frames that are kept, of all tenants; beyond, all are forgotten and made anew.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// Which frame of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// What is watched.
    pub view: ViewId,
    /// How it is written.
    pub format: Format,
    /// What it begins with.
    pub since: Since,
}

/// What a frame begins with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Since {
    /// Nothing: a snapshot with this epoch.
    Nothing(Box<str>),
    /// A tick.
    Seq(u64),
}

/// Frames of all tenants, each of the newest tick of its tenant.
#[derive(Debug)]
pub struct Sharing<T> {
    tenants: FxHashMap<i32, Frames<T>>,
    bytes: usize,
    /// Frames that were made.
    pub rendered: u64,
    /// Frames that were handed out again.
    pub shared: u64,
}

#[derive(Debug)]
struct Frames<T> {
    seq: u64,
    bytes: usize,
    by_key: FxHashMap<Key, T>,
}

impl<T> Default for Sharing<T> {
    fn default() -> Self {
        Self { tenants: FxHashMap::default(), bytes: 0, rendered: 0, shared: 0 }
    }
}

impl<T> Sharing<T> {
    /// The frame if it is made already and of this tick.
    pub fn get(&mut self, tenant_id: i32, seq: u64, key: &Key) -> Option<&T> {
        let frames = self.tenants.get(&tenant_id).filter(|frames| frames.seq == seq)?;
        let frame = frames.by_key.get(key)?;
        self.shared += 1;
        Some(frame)
    }

    /// Keeps a frame of `bytes` until the tenant's next tick.
    pub fn put(&mut self, tenant_id: i32, seq: u64, key: Key, frame: T, bytes: usize) {
        self.rendered += 1;
        if self.tenants.get(&tenant_id).is_some_and(|frames| frames.seq != seq) {
            self.forget(tenant_id);
        }
        if self.bytes + bytes > KEPT_BYTES {
            self.tenants.clear();
            self.bytes = 0;
        }
        let frames =
            self.tenants.entry(tenant_id).or_insert_with(|| Frames { seq, bytes: 0, by_key: FxHashMap::default() });
        frames.by_key.insert(key, frame);
        frames.bytes += bytes;
        self.bytes += bytes;
    }

    /// Forgets a tenant's frames.
    pub fn forget(&mut self, tenant_id: i32) {
        if let Some(frames) = self.tenants.remove(&tenant_id) {
            self.bytes -= frames.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(since_seq: u64) -> Key {
        Key { view: 1, format: Format::Json, since: Since::Seq(since_seq) }
    }

    #[test]
    fn a_frame_is_shared_until_the_next_tick() {
        let mut sharing = Sharing::default();
        sharing.put(7, 3, key(2), "a", 10);
        assert_eq!(sharing.get(7, 3, &key(2)), Some(&"a"));
        for (tenant_id, seq, since_seq) in [(7, 3, 1), (7, 4, 2), (8, 3, 2)] {
            assert_eq!(sharing.get(tenant_id, seq, &key(since_seq)), None);
        }
        sharing.put(7, 4, key(3), "b", 10);
        assert_eq!(sharing.get(7, 4, &key(2)), None);
        assert_eq!(sharing.get(7, 4, &key(3)), Some(&"b"));
        assert_eq!((sharing.rendered, sharing.shared, sharing.bytes), (2, 2, 10));
        sharing.forget(7);
        assert_eq!(sharing.get(7, 4, &key(3)), None);
        assert_eq!(sharing.bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut sharing = Sharing::default();
        for tenant_id in 0..10 {
            sharing.put(tenant_id, 1, key(0), tenant_id, KEPT_BYTES / 4);
            assert!(sharing.bytes <= KEPT_BYTES);
            assert_eq!(sharing.get(tenant_id, 1, &key(0)), Some(&tenant_id));
        }
        assert_eq!(sharing.get(0, 1, &key(0)), None);
    }
}
