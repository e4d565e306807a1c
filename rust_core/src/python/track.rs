//! `TrackWriter`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::track::{self, Format, SegmentArrays, TrackError};

/// Segments from this size of `offset_millis` on are worth giving up the GIL for: 8 bytes and about 0.3 microseconds
/// for each fix.
const DETACH_BYTES: usize = 8 * 256;

/// Renders a device's history in order of time from segments that may overlap.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct TrackWriter {
    inner: Mutex<track::TrackWriter>,
}

impl From<TrackError> for PyErr {
    fn from(error: TrackError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

#[pymethods]
impl TrackWriter {
    #[new]
    #[pyo3(signature = (*, format, device, from_millis, to_millis))]
    fn new(format: &str, device: &str, from_millis: i64, to_millis: i64) -> PyResult<Self> {
        let format = Format::named(format)
            .ok_or_else(|| PyValueError::new_err(format!("format is {format:?}, expected geojson, gpx or csv")))?;
        Ok(Self { inner: Mutex::new(track::TrackWriter::new(format, device, from_millis, to_millis)) })
    }

    #[expect(clippy::too_many_arguments, reason = "a row of track_segment")]
    fn push<'py>(
        &self,
        py: Python<'py>,
        first_at_millis: i64,
        offset_millis: &[u8],
        lat_e7: &[u8],
        lon_e7: &[u8],
        altitude_dm: Option<&[u8]>,
        speed_cmps: Option<&[u8]>,
        heading_cdeg: Option<&[u8]>,
        accuracy_dm: Option<&[u8]>,
        battery_permille: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let arrays = SegmentArrays {
            offset_millis,
            lat_e7,
            lon_e7,
            altitude_dm,
            speed_cmps,
            heading_cdeg,
            accuracy_dm,
            battery_permille,
        };
        let text = if offset_millis.len() < DETACH_BYTES {
            self.lock().push(first_at_millis, &arrays)
        } else {
            py.detach(|| self.lock().push(first_at_millis, &arrays))
        };
        Ok(PyBytes::new(py, &text?))
    }

    fn rewind(&self) -> i64 {
        self.lock().rewind()
    }

    fn finish<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let text = self.lock().finish();
        PyBytes::new(py, &text)
    }
}

impl TrackWriter {
    /// A panic inside leaves a document that is cut short; it was an exception to whoever writes it.
    fn lock(&self) -> MutexGuard<'_, track::TrackWriter> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
