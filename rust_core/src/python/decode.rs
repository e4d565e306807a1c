//! `Decoder` and `Batch`.

use std::collections::BTreeMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::batch;
use crate::decode::{self, Limits};
use crate::name;
use crate::receipt;
use crate::spooled;

/// Whether a text is a name of at most `max_chars` characters.
#[pyfunction]
pub(crate) fn is_name(text: &str, max_chars: usize) -> bool {
    name::is_name(text, max_chars)
}

/// A decoded batch. `accepted + rejected` is the number of fixes sent.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Batch {
    inner: batch::Batch,
}

impl Batch {
    /// What the other bindings work on.
    pub(crate) fn inner(&self) -> &batch::Batch {
        &self.inner
    }
}

#[pymethods]
impl Batch {
    #[getter]
    fn device(&self) -> Option<&str> {
        self.inner.device.as_deref()
    }

    #[getter]
    fn message_id(&self) -> Option<&str> {
        self.inner.message_id.as_deref()
    }

    #[getter]
    fn accepted(&self) -> usize {
        self.inner().columns.len()
    }

    #[getter]
    fn rejected(&self) -> usize {
        self.inner.rejects.len()
    }

    #[getter]
    fn days(&self) -> Vec<i64> {
        self.inner.days()
    }

    fn by_days(&self, max_days: usize) -> Vec<Self> {
        self.inner.by_days(max_days).into_iter().map(|inner| Self { inner }).collect()
    }

    #[pyo3(signature = (*, stored, duplicate))]
    fn receipt<'py>(&self, py: Python<'py>, stored: usize, duplicate: usize) -> Bound<'py, PyBytes> {
        let batch = self.inner();
        PyBytes::new(py, &receipt::render(stored, duplicate, &batch.rejects, batch.message_id.as_deref()))
    }

    fn queued_receipt<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let batch = self.inner();
        let receipt = receipt::render_queued(batch.columns.len(), &batch.rejects, batch.message_id.as_deref());
        PyBytes::new(py, &receipt)
    }

    /// The accepted fixes as bytes, for the spool.
    fn pack<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &spooled::pack(&self.inner.columns))
    }

    /// One batch of the fixes of several packed ones.
    #[staticmethod]
    #[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
    fn unpack(packed: Vec<Bound<'_, PyBytes>>) -> PyResult<Self> {
        let inner = spooled::unpack(packed.iter().map(PyBytesMethods::as_bytes))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { inner })
    }

    fn rejected_by_code(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for reject in &self.inner.rejects {
            *counts.entry(reject.code()).or_insert(0) += 1;
        }
        counts
    }
}

/// Reads batches. One for the process; it has no state but its limits.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Decoder {
    max_fixes: u32,
    future_millis: i64,
}

impl Decoder {
    fn limits(&self, now_millis: i64, earliest_millis: i64) -> Limits {
        Limits::new(self.max_fixes, now_millis, self.future_millis, earliest_millis)
    }
}

#[pymethods]
impl Decoder {
    #[new]
    #[pyo3(signature = (*, max_fixes, future_millis))]
    fn new(max_fixes: u32, future_millis: i64) -> PyResult<Self> {
        if max_fixes == 0 || future_millis < 0 {
            return Err(PyValueError::new_err("max_fixes must be at least 1 and future_millis at least 0"));
        }
        Ok(Self { max_fixes, future_millis })
    }

    /// Decodes one JSON batch: an envelope, a bare array, or a single fix.
    #[pyo3(signature = (body, *, now_millis, earliest_millis))]
    fn json(&self, body: &Bound<'_, PyBytes>, now_millis: i64, earliest_millis: i64) -> PyResult<Batch> {
        let inner = decode::json::decode(body.as_bytes(), self.limits(now_millis, earliest_millis))?;
        Ok(Batch { inner })
    }

    /// The same for `MessagePack`, with the same members and types.
    #[pyo3(signature = (body, *, now_millis, earliest_millis))]
    fn msgpack(&self, body: &Bound<'_, PyBytes>, now_millis: i64, earliest_millis: i64) -> PyResult<Batch> {
        let inner = decode::msgpack::decode(body.as_bytes(), self.limits(now_millis, earliest_millis))?;
        Ok(Batch { inner })
    }
}
