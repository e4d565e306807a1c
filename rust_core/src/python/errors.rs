//! Errors of the core as exceptions of `fleetwire.errors`: the types are defined in Python, once.

use pyo3::PyErr;

use crate::decode;

mod exceptions {
    pyo3::import_exception!(fleetwire.errors, BatchError);
}

impl From<decode::BatchError> for PyErr {
    fn from(error: decode::BatchError) -> Self {
        exceptions::BatchError::new_err((error.fault.code(), error.to_string()))
    }
}
