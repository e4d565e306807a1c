//! The core of Fleetwire: bytes to checked columns, columns to storage bytes, and the present position of every device.
//!
//! Nothing here does I/O, reads a clock or starts a thread; time and limits are parameters. `python` is the only module
//! that knows Python.

pub mod area;
pub mod batch;
pub mod bucket;
pub mod copy;
pub mod decimal;
pub mod decode;
pub mod filter;
pub mod fix;
pub mod frame;
pub mod group;
pub mod late;
pub mod live;
pub mod lru;
pub mod merge;
pub mod name;
pub mod packed;
pub mod pg_array;
#[cfg(feature = "python")]
mod python;
pub mod receipt;
pub mod recent;
pub mod record;
pub mod reject;
pub mod relay;
pub mod segment;
pub mod sharing;
pub mod spooled;
pub mod track;
