//! `LiveTable`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustc_hash::FxHashMap;

use super::group::Sealed;
use crate::fix::{Fix, NONE_I16, NONE_I32};
use crate::live;

/// The newest fix of every device, and since when watchers know it.
///
/// The two locks are never held together, and neither while Python runs.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct LiveTable {
    inner: Mutex<live::LiveTable>,
    /// Per tenant the frame asked for last, as Python has it: a thousand watchers hold one object.
    shared: Mutex<FxHashMap<i32, Shared>>,
}

/// A rendered frame, and the Python object of the same bytes.
type Shared = (Arc<[u8]>, Py<PyBytes>);

/// A position is written as a whole, so what a panic leaves behind is at worst a movement that nobody was told of.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl LiveTable {
    #[new]
    fn new() -> Self {
        Self { inner: Mutex::default(), shared: Mutex::default() }
    }

    #[expect(clippy::too_many_arguments, reason = "a row of live_position")]
    fn load(
        &self,
        tenant_id: i32,
        device_id: i64,
        name: &str,
        fixed_at_millis: Option<i64>,
        lat_e7: Option<i32>,
        lon_e7: Option<i32>,
        altitude_dm: Option<i32>,
        speed_cmps: Option<i16>,
        heading_cdeg: Option<i16>,
        accuracy_dm: Option<i16>,
        battery_permille: Option<i16>,
    ) {
        let place = fixed_at_millis.zip(lat_e7).zip(lon_e7);
        let stored = place.map(|((fixed_at_millis, lat_e7), lon_e7)| Fix {
            fixed_at_millis,
            lat_e7,
            lon_e7,
            altitude_dm: altitude_dm.unwrap_or(NONE_I32),
            speed_cmps: speed_cmps.unwrap_or(NONE_I16),
            heading_cdeg: heading_cdeg.unwrap_or(NONE_I16),
            accuracy_dm: accuracy_dm.unwrap_or(NONE_I16),
            battery_permille: battery_permille.unwrap_or(NONE_I16),
        });
        lock(&self.inner).load(tenant_id, device_id, name, stored);
    }

    fn advance(&self, sealed: &Bound<'_, Sealed>) -> usize {
        lock(&self.inner).advance(sealed.get().positions())
    }

    fn tick(&self) -> Vec<i32> {
        lock(&self.inner).tick()
    }

    fn seq(&self, tenant_id: i32) -> u64 {
        lock(&self.inner).seq(tenant_id)
    }

    #[pyo3(signature = (tenant_id, *, epoch))]
    fn snapshot<'py>(&self, py: Python<'py>, tenant_id: i32, epoch: &str) -> Bound<'py, PyBytes> {
        let frame = py.detach(|| lock(&self.inner).snapshot(tenant_id, epoch));
        PyBytes::new(py, &frame)
    }

    #[pyo3(signature = (tenant_id, *, since_seq))]
    fn moved(&self, py: Python<'_>, tenant_id: i32, since_seq: u64) -> Option<Py<PyBytes>> {
        let rendered = {
            let table = lock(&self.inner);
            if table.seq(tenant_id) <= since_seq {
                return None;
            }
            table.cached_moved(tenant_id, since_seq)
        };
        // Only the first of many watchers pays for the rendering, and for giving up the GIL.
        let frame = rendered.or_else(|| py.detach(|| lock(&self.inner).moved(tenant_id, since_seq)))?;
        Some(self.share(py, tenant_id, frame))
    }

    fn geojson<'py>(&self, py: Python<'py>, tenant_id: i32) -> Bound<'py, PyBytes> {
        let frame = py.detach(|| lock(&self.inner).geojson(tenant_id));
        PyBytes::new(py, &frame)
    }

    fn __len__(&self) -> usize {
        lock(&self.inner).len()
    }
}

impl LiveTable {
    /// The table, for the functions in `relay.rs`.
    pub(super) fn table(&self) -> MutexGuard<'_, live::LiveTable> {
        lock(&self.inner)
    }

    fn share(&self, py: Python<'_>, tenant_id: i32, frame: Arc<[u8]>) -> Py<PyBytes> {
        if let Some((known, bytes)) = lock(&self.shared).get(&tenant_id)
            && Arc::ptr_eq(known, &frame)
        {
            return bytes.clone_ref(py);
        }
        let bytes = PyBytes::new(py, &frame).unbind();
        let _replaced = lock(&self.shared).insert(tenant_id, (frame, bytes.clone_ref(py)));
        bytes
    }
}
