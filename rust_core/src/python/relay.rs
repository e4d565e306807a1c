//! `Departures`, and what others departed with.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::group::Sealed;
use super::live::LiveTable;
use crate::fix::{Fix, NONE_I16, NONE_I32};
use crate::live::Position;
use crate::relay::{self, RelayError};

/// What moved by this worker's commits. The lock is never held while Python runs; a panic loses at worst a tick of it.
#[pyclass(frozen, module = "fleetwire._core")]
pub(crate) struct Departures {
    inner: Mutex<relay::Departures>,
}

/// A row of the statement `load_live`.
type Row = (
    i32,
    i64,
    String,
    Option<i64>,
    Option<i32>,
    Option<i32>,
    Option<i32>,
    Option<i16>,
    Option<i16>,
    Option<i16>,
    Option<i16>,
);

fn position(row: &Row) -> Option<Position> {
    let (tenant_id, device_id, ref _name, fixed_at_millis, lat_e7, lon_e7, altitude, speed, heading, accuracy, battery) =
        *row;
    let fix = Fix {
        fixed_at_millis: fixed_at_millis?,
        lat_e7: lat_e7?,
        lon_e7: lon_e7?,
        altitude_dm: altitude.unwrap_or(NONE_I32),
        speed_cmps: speed.unwrap_or(NONE_I16),
        heading_cdeg: heading.unwrap_or(NONE_I16),
        accuracy_dm: accuracy.unwrap_or(NONE_I16),
        battery_permille: battery.unwrap_or(NONE_I16),
    };
    Some(Position { tenant_id, device_id, fix })
}

impl From<RelayError> for PyErr {
    fn from(error: RelayError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

#[pymethods]
impl Departures {
    #[new]
    fn new() -> Self {
        Self { inner: Mutex::default() }
    }

    fn meet(&self, tenant_id: i32, device_id: i64, name: &str) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).meet(tenant_id, device_id, name);
    }

    fn record(&self, sealed: &Bound<'_, Sealed>) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).record(sealed.get().moved());
    }

    fn forget(&self, tenant_id: i32) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).forget(tenant_id);
    }

    fn take<'py>(&self, py: Python<'py>) -> Vec<(i32, Bound<'py, PyBytes>)> {
        let messages = py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).take());
        messages.into_iter().map(|(tenant_id, message)| (tenant_id, PyBytes::new(py, &message))).collect()
    }
}

/// Moves a table by another worker's message.
#[pyfunction]
pub(crate) fn apply_moved(
    py: Python<'_>,
    table: &Bound<'_, LiveTable>,
    tenant_id: i32,
    message: &[u8],
) -> PyResult<usize> {
    let table = table.get();
    Ok(py.detach(|| relay::apply(&mut table.table(), tenant_id, message))?)
}

/// Moves a table by rows of `live_position`, and has other workers told of them where `departures` is given.
#[pyfunction]
#[pyo3(signature = (table, rows, departures=None))]
#[expect(clippy::needless_pass_by_value, reason = "a list is extracted into a vector")]
pub(crate) fn catch_up(
    py: Python<'_>,
    table: &Bound<'_, LiveTable>,
    rows: Vec<Row>,
    departures: Option<&Bound<'_, Departures>>,
) -> usize {
    let table = table.get();
    let departures = departures.map(Bound::get);
    py.detach(|| {
        let mut table = table.table();
        for (tenant_id, device_id, name, ..) in &rows {
            table.load(*tenant_id, *device_id, name, None);
        }
        let positions: Vec<Position> = rows.iter().filter_map(position).collect();
        if let Some(departures) = departures {
            departures.inner.lock().unwrap_or_else(PoisonError::into_inner).record(&positions);
        }
        table.advance(&positions)
    })
}
