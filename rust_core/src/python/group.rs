//! `Group` and `Sealed`.

use std::borrow::Borrow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};

use super::decode::Batch;
use crate::group::{self, GroupError, Member};
use crate::late::{Offsets, StoredTimes};
use crate::live::Position;
use crate::pg_array::literal;
use crate::{batch, receipt, recent, record};

/// The batches that one transaction will store.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Group {
    inner: group::Group<Held>,
}

/// The numbers of the schema's types in one database.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct RowTypes {
    inner: record::RowTypes,
}

#[pymethods]
impl RowTypes {
    #[new]
    #[pyo3(signature = (*, track_segment, moved_position, packed_int4))]
    fn new(track_segment: u32, moved_position: u32, packed_int4: u32) -> Self {
        Self { inner: record::RowTypes { track_segment, moved_position, packed_int4 } }
    }
}

/// Times of the last stored batch of each device.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Recent {
    inner: Mutex<recent::Recent>,
}

#[pymethods]
impl Recent {
    #[new]
    #[pyo3(signature = (*, max_fixes))]
    fn new(max_fixes: usize) -> Self {
        Self { inner: Mutex::new(recent::Recent::new(max_fixes)) }
    }

    fn forget(&self) {
        self.lock().forget();
    }

    fn remember(&self, group: &Bound<'_, Group>) {
        self.lock().remember(&group.get().inner);
    }

    fn only(&self, group: &Bound<'_, Group>) -> Self {
        Self { inner: Mutex::new(self.lock().only(&group.get().inner)) }
    }
}

impl Recent {
    /// What a panic leaves behind is at worst a batch that is not remembered.
    fn lock(&self) -> MutexGuard<'_, recent::Recent> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// (`tenant_id`, `device_id`, `first_at_millis`, `fix_count`, `step_millis`, `record_send(offset_millis)`) of a stored
/// segment; one of the last two is `None`.
type Row = (i32, i64, i64, i64, Option<i64>, Option<PyBackedBytes>);

/// A batch that Python made and the group keeps alive.
struct Held(Py<Batch>);

impl Borrow<batch::Batch> for Held {
    fn borrow(&self) -> &batch::Batch {
        self.0.get().inner()
    }
}

/// An array as `PostgreSQL`'s text: the driver would look at every number of a list, and takes a text as it is.
fn text(py: Python<'_>, values: impl Iterator<Item = Option<i64>>) -> Bound<'_, PyString> {
    PyString::new(py, &String::from_utf8_lossy(&literal(values)))
}

impl From<GroupError> for PyErr {
    fn from(error: GroupError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// A row with neither of its times has no fixes, which no row of the database is: it is refused as one that cannot be read.
fn stored_times(
    (tenant_id, device_id, first_at_millis, fix_count, step_millis, offset_millis): &Row,
) -> StoredTimes<'_> {
    let offsets = match step_millis {
        Some(step_millis) => Offsets::Every { step_millis: *step_millis, fix_count: *fix_count },
        None => Offsets::Packed(offset_millis.as_deref().unwrap_or_default()),
    };
    StoredTimes { tenant_id: *tenant_id, device_id: *device_id, first_at_millis: *first_at_millis, offsets }
}

#[pymethods]
impl Group {
    #[new]
    fn new(members: Vec<(i32, i64, Py<Batch>)>) -> Self {
        let member = |(tenant_id, device_id, batch)| Member { tenant_id, device_id, batch: Held(batch) };
        Self { inner: group::Group::new(members.into_iter().map(member).collect()) }
    }

    fn devices<'py>(&self, py: Python<'py>) -> (Bound<'py, PyString>, Bound<'py, PyString>) {
        let tenants = self.inner.devices().map(|(tenant_id, _)| Some(tenant_id.into()));
        let devices = self.inner.devices().map(|(_, device_id)| Some(device_id));
        (text(py, tenants), text(py, devices))
    }

    fn days(&self) -> Vec<i64> {
        self.inner.days()
    }

    #[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
    fn late_spans(&self, last_fixed_millis: Vec<Option<i64>>, recent: &Recent) -> PyResult<Vec<(i32, i64, i64, i64)>> {
        let spans = self.inner.late_spans(&last_fixed_millis, &recent.lock())?;
        Ok(spans.iter().map(|span| (span.tenant_id, span.device_id, span.from_millis, span.to_millis)).collect())
    }

    #[pyo3(signature = (*, last_fixed_millis, stored, recent, received_at_millis, row_types))]
    #[expect(clippy::needless_pass_by_value, reason = "lists are extracted into vectors")]
    fn seal(
        &self,
        py: Python<'_>,
        last_fixed_millis: Vec<Option<i64>>,
        stored: Vec<Row>,
        recent: &Recent,
        received_at_millis: i64,
        row_types: &RowTypes,
    ) -> PyResult<Sealed> {
        let types = row_types.inner;
        let (mut inner, positions, receipts) = py.detach(|| -> Result<_, GroupError> {
            let stored: Vec<StoredTimes<'_>> = stored.iter().map(stored_times).collect();
            let sealed = self.inner.seal(&last_fixed_millis, &stored, &recent.lock(), received_at_millis, types)?;
            let positions = record::positions(&sealed.live, received_at_millis, types);
            let receipts = self.receipts(&sealed);
            Ok((sealed, positions, receipts))
        })?;
        Ok(Sealed {
            segments: PyBytes::new(py, &std::mem::take(&mut inner.segments)).unbind(),
            positions: PyBytes::new(py, &positions).unbind(),
            newest: text(py, last_fixed_millis.into_iter()).unbind(),
            inner,
            receipts,
        })
    }
}

impl Group {
    /// (tenant, device), each pair once, ascending.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (i32, i64)> {
        self.inner.devices()
    }

    fn receipts(&self, sealed: &group::Sealed) -> Vec<Vec<u8>> {
        let told = self.inner.members().iter().zip(&sealed.tallies);
        told.map(|(member, tally)| {
            let batch: &batch::Batch = member.batch.borrow();
            receipt::render(tally.stored, tally.duplicate, &batch.rejects, batch.message_id.as_deref())
        })
        .collect()
    }
}

/// A group ready to be written.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Sealed {
    /// Without its rows: those are Python's, so that they are copied once.
    inner: group::Sealed,
    segments: Py<PyBytes>,
    positions: Py<PyBytes>,
    newest: Py<PyString>,
    receipts: Vec<Vec<u8>>,
}

impl Sealed {
    /// Who moved forward.
    pub(crate) fn moved(&self) -> &[Position] {
        &self.inner.live
    }
}

#[pymethods]
impl Sealed {
    #[getter]
    fn segments(&self, py: Python<'_>) -> Py<PyBytes> {
        self.segments.clone_ref(py)
    }

    #[getter]
    fn segment_count(&self) -> usize {
        self.inner.segment_count
    }

    #[getter]
    fn positions(&self, py: Python<'_>) -> Py<PyBytes> {
        self.positions.clone_ref(py)
    }

    #[getter]
    fn newest(&self, py: Python<'_>) -> Py<PyString> {
        self.newest.clone_ref(py)
    }

    #[getter]
    fn stored(&self) -> usize {
        self.inner.tallies.iter().map(|tally| tally.stored).sum()
    }

    #[getter]
    fn duplicate(&self) -> usize {
        self.inner.tallies.iter().map(|tally| tally.duplicate).sum()
    }

    #[getter]
    fn moved_tenants(&self) -> Vec<i32> {
        let mut tenants: Vec<i32> = self.inner.live.iter().map(|position| position.tenant_id).collect();
        tenants.dedup();
        tenants
    }

    fn tallies(&self) -> Vec<(usize, usize)> {
        self.inner.tallies.iter().map(|tally| (tally.stored, tally.duplicate)).collect()
    }

    fn receipts<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.receipts.iter().map(|receipt| PyBytes::new(py, receipt)).collect()
    }
}
