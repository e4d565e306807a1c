//! `Lru`.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::lru::{self, Found, Terms};

/// A bounded map from bytes to objects that forgets what was used longest ago, and what is older than its life.
///
/// Dropping a Python object may run Python, which may come back here: every object leaves the lock before it is
/// dropped.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Lru {
    entries: Mutex<lru::Lru<Py<PyAny>>>,
}

impl Lru {
    /// A poisoned lock is taken all the same: no Python runs under it, and each call leaves the map whole.
    fn entries(&self) -> MutexGuard<'_, lru::Lru<Py<PyAny>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Lru {
    #[new]
    #[pyo3(signature = (*, capacity, ttl_millis, max_bytes=None))]
    fn new(capacity: usize, ttl_millis: i64, max_bytes: Option<u64>) -> PyResult<Self> {
        let capacity = NonZeroUsize::new(capacity).filter(|_| ttl_millis > 0);
        let capacity = capacity.ok_or_else(|| PyValueError::new_err("capacity and ttl_millis must be at least 1"))?;
        Ok(Self { entries: Mutex::new(lru::Lru::new(capacity, max_bytes.unwrap_or(u64::MAX), ttl_millis)) })
    }

    #[pyo3(signature = (key, *, now_millis))]
    fn get(&self, py: Python<'_>, key: &[u8], now_millis: i64) -> Option<Py<PyAny>> {
        let expired = match self.entries().get(key, now_millis) {
            Found::Live(value) => return Some(value.clone_ref(py)),
            Found::Expired(value) => Some(value),
            Found::Absent => None,
        };
        drop(expired);
        None
    }

    #[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
    #[pyo3(signature = (key, value, *, now_millis, ttl_millis=None, size_bytes=0, tags=None))]
    fn put(
        &self,
        key: &[u8],
        value: Py<PyAny>,
        now_millis: i64,
        ttl_millis: Option<i64>,
        size_bytes: u64,
        tags: Option<Vec<PyBackedBytes>>,
    ) {
        let tags: Vec<&[u8]> = tags.iter().flatten().map(AsRef::as_ref).collect();
        let terms = Terms { ttl_millis, size_bytes, tags: &tags };
        let gone = self.entries().put(key, value, terms, now_millis);
        drop(gone);
    }

    fn remove(&self, key: &[u8]) -> bool {
        let removed = self.entries().remove(key);
        removed.is_some()
    }

    fn remove_tag(&self, tag: &[u8]) -> usize {
        let removed = self.entries().remove_tag(tag);
        removed.len()
    }

    fn clear(&self) {
        let removed = self.entries().take();
        drop(removed);
    }

    #[getter]
    fn size_bytes(&self) -> u64 {
        self.entries().size_bytes()
    }

    fn __len__(&self) -> usize {
        self.entries().len()
    }
}
