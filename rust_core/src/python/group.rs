//! `Group` and `Sealed`.

use std::borrow::Borrow;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};

use super::decode::Batch;
use crate::fix::{NONE_I16, NONE_I32};
use crate::group::{self, GroupError, Member, StoredTimes};
use crate::live::Position;
use crate::pg_array::literal;
use crate::{batch, receipt};

/// The batches that one transaction will store.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Group {
    inner: group::Group<Held>,
}

/// (`tenant_id`, `device_id`, `first_at_millis`, `record_send(offset_millis)`) of a stored segment.
type Row = (i32, i64, i64, PyBackedBytes);

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

fn stored_times((tenant_id, device_id, first_at_millis, offset_millis): &Row) -> StoredTimes<'_> {
    StoredTimes { tenant_id: *tenant_id, device_id: *device_id, first_at_millis: *first_at_millis, offset_millis }
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

    fn tenants(&self) -> Vec<i32> {
        let mut tenants: Vec<i32> = self.inner.devices().map(|(tenant_id, _)| tenant_id).collect();
        tenants.dedup();
        tenants
    }

    fn days(&self) -> Vec<i64> {
        self.inner.days()
    }

    #[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
    fn late_spans(&self, last_fixed_millis: Vec<Option<i64>>) -> PyResult<Vec<(i32, i64, i64, i64)>> {
        let spans = self.inner.late_spans(&last_fixed_millis)?;
        Ok(spans.iter().map(|span| (span.tenant_id, span.device_id, span.from_millis, span.to_millis)).collect())
    }

    #[pyo3(signature = (*, last_fixed_millis, stored, received_at_millis))]
    #[expect(clippy::needless_pass_by_value, reason = "lists are extracted into vectors")]
    fn seal(
        &self,
        py: Python<'_>,
        last_fixed_millis: Vec<Option<i64>>,
        stored: Vec<Row>,
        received_at_millis: i64,
    ) -> PyResult<Sealed> {
        let (mut inner, receipts) = py.detach(|| -> Result<_, GroupError> {
            let stored: Vec<StoredTimes<'_>> = stored.iter().map(stored_times).collect();
            let sealed = self.inner.seal(&last_fixed_millis, &stored, received_at_millis)?;
            let receipts = self.receipts(&sealed);
            Ok((sealed, receipts))
        })?;
        let copy = PyBytes::new(py, &std::mem::take(&mut inner.copy)).unbind();
        Ok(Sealed { inner, copy, receipts })
    }
}

impl Group {
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
    /// Without its COPY bytes: those are Python's, so that they are copied once.
    inner: group::Sealed,
    copy: Py<PyBytes>,
    receipts: Vec<Vec<u8>>,
}

impl Sealed {
    /// Who moved forward.
    pub(crate) fn positions(&self) -> &[Position] {
        &self.inner.live
    }
}

#[pymethods]
impl Sealed {
    #[getter]
    fn copy(&self, py: Python<'_>) -> Py<PyBytes> {
        self.copy.clone_ref(py)
    }

    #[getter]
    fn segments(&self) -> usize {
        self.inner.segments
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
    fn live<'py>(&self, py: Python<'py>) -> (Vec<Bound<'py, PyString>>, usize) {
        let small = |value: i16| (value != NONE_I16).then_some(i64::from(value));
        let column = |value: &dyn Fn(&Position) -> Option<i64>| text(py, self.inner.live.iter().map(value));
        let columns = vec![
            column(&|position| Some(position.tenant_id.into())),
            column(&|position| Some(position.device_id)),
            column(&|position| Some(position.fix.fixed_at_millis)),
            column(&|position| Some(position.fix.lat_e7.into())),
            column(&|position| Some(position.fix.lon_e7.into())),
            column(&|position| (position.fix.altitude_dm != NONE_I32).then_some(position.fix.altitude_dm.into())),
            column(&|position| small(position.fix.speed_cmps)),
            column(&|position| small(position.fix.heading_cdeg)),
            column(&|position| small(position.fix.accuracy_dm)),
            column(&|position| small(position.fix.battery_permille)),
        ];
        (columns, self.inner.live.len())
    }

    #[getter]
    fn moved_tenants(&self) -> Vec<i32> {
        let mut tenants: Vec<i32> = self.inner.live.iter().map(|position| position.tenant_id).collect();
        tenants.dedup();
        tenants
    }

    fn receipts<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.receipts.iter().map(|receipt| PyBytes::new(py, receipt)).collect()
    }
}
