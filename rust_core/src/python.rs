//! The module `fleetwire._core`. A file for each noun, as in the stub; nothing outside `python` knows Python.

mod bucket;
mod decode;
mod errors;
mod group;
mod live;
mod lru;
mod merge;
mod relay;
mod track;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::decode::{BATCH_CATALOGUE, MAX_DEVICE_CHARS, MAX_FIXES_PER_BATCH};
use crate::reject;

/// Decoding, storage rendering and live state of fleet positions.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    module.add("MAX_FIXES_PER_BATCH", MAX_FIXES_PER_BATCH)?;
    module.add("MAX_DEVICE_CHARS", MAX_DEVICE_CHARS)?;
    module.add("REJECT_CODES", PyTuple::new(module.py(), reject_codes())?)?;
    module.add("BATCH_CODES", PyTuple::new(module.py(), batch_codes())?)?;

    module.add_class::<bucket::Buckets>()?;
    module.add_class::<bucket::Policy>()?;
    module.add_class::<decode::Batch>()?;
    module.add_class::<decode::Decoder>()?;
    module.add_class::<group::Group>()?;
    module.add_class::<group::Recent>()?;
    module.add_class::<group::RowTypes>()?;
    module.add_class::<group::Sealed>()?;
    module.add_class::<live::Frame>()?;
    module.add_class::<live::LiveTable>()?;
    module.add_class::<track::TrackWriter>()?;
    module.add_class::<lru::Lru>()?;
    module.add_class::<relay::Departures>()?;
    module.add_function(wrap_pyfunction!(merge::merge_segments, module)?)?;
    module.add_function(wrap_pyfunction!(decode::is_name, module)?)?;
    module.add_function(wrap_pyfunction!(relay::apply_moved, module)?)?;
    module.add_function(wrap_pyfunction!(relay::catch_up, module)?)?;
    Ok(())
}

fn reject_codes() -> Vec<(String, String)> {
    reject::CATALOGUE
        .iter()
        .map(|(member, fault)| (reject::code(*member, *fault), reject::detail(*member, *fault)))
        .collect()
}

fn batch_codes() -> Vec<(&'static str, String)> {
    BATCH_CATALOGUE.iter().map(|fault| (fault.code(), fault.to_string())).collect()
}
