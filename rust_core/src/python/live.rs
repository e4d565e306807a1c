//! `LiveTable`, and the frames it hands out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::group::{Group, Sealed};
use crate::area::Area;
use crate::filter::{Filter, Status, StatusRule, Statuses};
use crate::fix::{Fix, NONE_I16, NONE_I32};
use crate::frame::Format;
use crate::live::{self, ViewId};
use crate::sharing::{Key, Sharing, Since};

/// The newest fix of every device, and since when watchers know it.
///
/// The two locks are never held together, and neither while Python runs.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct LiveTable {
    inner: Mutex<live::LiveTable>,
    /// Frames as Python has them: a thousand watchers hold one object.
    shared: Mutex<Sharing<Py<Frame>>>,
}

/// The messages of one frame.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Frame {
    messages: Py<PyTuple>,
    size_bytes: usize,
}

#[pymethods]
impl Frame {
    #[getter]
    fn messages(&self, py: Python<'_>) -> Py<PyTuple> {
        self.messages.clone_ref(py)
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

/// A position is written as a whole, so what a panic leaves behind is at worst a movement that nobody was told of.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn format(text: &str) -> PyResult<Format> {
    match text {
        "json" => Ok(Format::Json),
        "rows" => Ok(Format::Rows),
        "protobuf" => Ok(Format::Protobuf),
        _ => Err(PyValueError::new_err(format!("no format: {text}"))),
    }
}

fn statuses(names: &[String]) -> PyResult<Statuses> {
    names.iter().try_fold(Statuses::default(), |statuses, name| match name.as_str() {
        "moving" => Ok(statuses.with(Status::Moving)),
        "stopped" => Ok(statuses.with(Status::Stopped)),
        "offline" => Ok(statuses.with(Status::Offline)),
        _ => Err(PyValueError::new_err(format!("no status: {name}"))),
    })
}

#[pymethods]
impl LiveTable {
    #[new]
    #[pyo3(signature = (*, moving_cmps, offline_millis))]
    fn new(moving_cmps: i16, offline_millis: i64) -> Self {
        let rule = StatusRule { moving_cmps, offline_millis };
        Self { inner: Mutex::new(live::LiveTable::new(rule)), shared: Mutex::default() }
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
        // What is loaded before the first tick is shown without one.
        lock(&self.shared).forget(tenant_id);
    }

    fn advance(&self, sealed: &Bound<'_, Sealed>) -> usize {
        lock(&self.inner).advance(sealed.get().moved())
    }

    fn newest_millis(&self, group: &Bound<'_, Group>) -> Vec<Option<i64>> {
        let table = lock(&self.inner);
        group.get().keys().map(|(tenant_id, device_id)| table.newest_millis(tenant_id, device_id)).collect()
    }

    #[pyo3(signature = (*, now_millis))]
    fn tick(&self, py: Python<'_>, now_millis: i64) -> Vec<i32> {
        py.detach(|| lock(&self.inner).tick(now_millis))
    }

    fn seq(&self, tenant_id: i32) -> u64 {
        lock(&self.inner).seq(tenant_id)
    }

    #[pyo3(signature = (tenant_id, *, area, devices, statuses, groups, now_millis))]
    #[expect(clippy::too_many_arguments, reason = "the members of a filter")]
    #[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
    fn watch(
        &self,
        py: Python<'_>,
        tenant_id: i32,
        area: Option<(i32, i32, i32, i32)>,
        devices: Option<Vec<String>>,
        statuses: Option<Vec<String>>,
        groups: Option<Vec<String>>,
        now_millis: i64,
    ) -> PyResult<ViewId> {
        let names = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
        let filter = Filter {
            area: area.map(|(west_e7, south_e7, east_e7, north_e7)| Area { west_e7, south_e7, east_e7, north_e7 }),
            statuses: statuses.as_deref().map(self::statuses).transpose()?,
            devices: devices.map(names),
            groups: groups.map(names),
        };
        Ok(py.detach(|| lock(&self.inner).watch(tenant_id, filter, now_millis)))
    }

    fn release(&self, tenant_id: i32, view: ViewId) {
        lock(&self.inner).release(tenant_id, view);
    }

    #[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
    fn set_group(&self, tenant_id: i32, name: &str, device_ids: Vec<i64>) {
        lock(&self.inner).set_group(tenant_id, name, &device_ids);
    }

    fn forget(&self, tenant_id: i32) {
        lock(&self.inner).forget(tenant_id);
        lock(&self.shared).forget(tenant_id);
    }

    fn devices(&self, py: Python<'_>) -> Vec<(i32, i64, Option<String>, Option<i64>)> {
        py.detach(|| lock(&self.inner).devices())
    }

    fn groups(&self, py: Python<'_>) -> Vec<(i32, String)> {
        py.detach(|| lock(&self.inner).groups())
    }

    fn tenants(&self) -> Vec<i32> {
        lock(&self.inner).tenants()
    }

    fn is_exact(&self, tenant_id: i32, view: ViewId, since_seq: u64) -> bool {
        lock(&self.inner).is_exact(tenant_id, view, since_seq)
    }

    #[pyo3(signature = (tenant_id, view, *, format, epoch, now_millis))]
    fn snapshot(
        &self,
        py: Python<'_>,
        tenant_id: i32,
        view: ViewId,
        format: &str,
        epoch: &str,
        now_millis: i64,
    ) -> PyResult<Py<Frame>> {
        let format = self::format(format)?;
        // First the tick, then the look at what is kept of it: both come to the same tick.
        let seq = lock(&self.inner).settle(tenant_id, now_millis);
        let key = Key { view, format, since: Since::Nothing(epoch.into()) };
        if let Some(frame) = lock(&self.shared).get(tenant_id, seq, &key) {
            return Ok(frame.clone_ref(py));
        }
        let messages = py.detach(|| lock(&self.inner).snapshot(tenant_id, view, format, epoch, now_millis));
        self.share(py, tenant_id, seq, key, &messages)
    }

    #[pyo3(signature = (tenant_id, view, *, format, since_seq))]
    fn moved(
        &self,
        py: Python<'_>,
        tenant_id: i32,
        view: ViewId,
        format: &str,
        since_seq: u64,
    ) -> PyResult<Option<Py<Frame>>> {
        let seq = lock(&self.inner).seq(tenant_id);
        if seq <= since_seq {
            return Ok(None);
        }
        let format = self::format(format)?;
        let key = Key { view, format, since: Since::Seq(since_seq) };
        if let Some(frame) = lock(&self.shared).get(tenant_id, seq, &key) {
            return Ok(Some(frame.clone_ref(py)).filter(|frame| frame.get().size_bytes > 0));
        }
        // Only the first of many watchers pays for the rendering, and for giving up the GIL.
        let messages = py.detach(|| lock(&self.inner).moved(tenant_id, view, format, since_seq));
        let frame = self.share(py, tenant_id, seq, key, &messages)?;
        Ok(Some(frame).filter(|frame| frame.get().size_bytes > 0))
    }

    fn frames_made(&self) -> (u64, u64) {
        let shared = lock(&self.shared);
        (shared.rendered, shared.shared)
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

    /// Keeps a frame that was rendered at `seq` and makes it Python's.
    ///
    /// Another thread may have closed a tick since: then the frame shows more than `seq` and is still right for who
    /// gets it, and nobody finds it, since nobody asks for that tick any more.
    fn share(&self, py: Python<'_>, tenant_id: i32, seq: u64, key: Key, messages: &[Vec<u8>]) -> PyResult<Py<Frame>> {
        let size_bytes = messages.iter().map(Vec::len).sum();
        let messages = match key.format {
            Format::Json | Format::Rows => {
                let texts: PyResult<Vec<_>> = messages.iter().map(|text| PyString::from_bytes(py, text)).collect();
                PyTuple::new(py, texts?)?
            }
            Format::Protobuf => PyTuple::new(py, messages.iter().map(|message| PyBytes::new(py, message)))?,
        };
        let frame = Py::new(py, Frame { messages: messages.unbind(), size_bytes })?;
        lock(&self.shared).put(tenant_id, seq, key, frame.clone_ref(py), size_bytes);
        Ok(frame)
    }
}
