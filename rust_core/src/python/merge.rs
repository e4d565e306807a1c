//! `merge_segments`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::merge::{self, MergeError, StoredSegment};
use crate::track::SegmentArrays;

/// A row of `track_segment` or `track_merged`: `first_at_millis`, `received_at_millis` and the eight columns.
type Row = (
    i64,
    i64,
    PyBackedBytes,
    PyBackedBytes,
    PyBackedBytes,
    Option<PyBackedBytes>,
    Option<PyBackedBytes>,
    Option<PyBackedBytes>,
    Option<PyBackedBytes>,
    Option<PyBackedBytes>,
);

impl From<MergeError> for PyErr {
    fn from(error: MergeError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

fn stored_segment(row: &Row) -> StoredSegment<'_> {
    let (
        first_at_millis,
        received_at_millis,
        offset_millis,
        lat_e7,
        lon_e7,
        altitude_dm,
        speed,
        heading,
        accuracy,
        battery,
    ) = row;
    StoredSegment {
        first_at_millis: *first_at_millis,
        received_at_millis: *received_at_millis,
        arrays: SegmentArrays {
            offset_millis,
            lat_e7,
            lon_e7,
            altitude_dm: altitude_dm.as_deref(),
            speed_cmps: speed.as_deref(),
            heading_cdeg: heading.as_deref(),
            accuracy_dm: accuracy.as_deref(),
            battery_permille: battery.as_deref(),
        },
    }
}

/// Merges stored segments of one device. Returns (COPY bytes, rows, fixes).
#[pyfunction]
#[pyo3(signature = (tenant_id, device_id, segments, *, max_fixes))]
#[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
pub(crate) fn merge_segments(
    py: Python<'_>,
    tenant_id: i32,
    device_id: i64,
    segments: Vec<Row>,
    max_fixes: usize,
) -> PyResult<(Bound<'_, PyBytes>, usize, usize)> {
    let merged = py.detach(|| {
        let stored: Vec<StoredSegment<'_>> = segments.iter().map(stored_segment).collect();
        merge::merge(tenant_id, device_id, &stored, max_fixes)
    })?;
    Ok((PyBytes::new(py, &merged.copy), merged.segments, merged.fixes))
}
