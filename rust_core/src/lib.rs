//! The core of Fleetwire: bytes to checked columns, columns to storage bytes, and the present position of every device.
//!
//! Nothing here does I/O, reads a clock or starts a thread; time and limits are parameters. `python` is the only module
//! that knows Python.

pub mod batch;
pub mod decode;
pub mod fix;
pub mod lru;
#[cfg(feature = "python")]
mod python;
pub mod receipt;
pub mod reject;
