//! Both formats, from bytes to batches: what is read, what is refused with which code, and that nothing panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cursor;
mod envelope;
mod fixes;
mod hostile;
mod pack;
mod random;

use fleetwire_core::batch::Batch;
use fleetwire_core::decode::{BatchError, Limits, json, msgpack};
use serde_json::Value;

const NOW_MILLIS: i64 = 1_763_769_000_000;
const MAX_FIXES: u32 = 100;

fn limits() -> Limits {
    Limits::new(MAX_FIXES, NOW_MILLIS, 600_000, 0)
}

fn read_json(body: impl AsRef<[u8]>) -> Result<Batch, BatchError> {
    json::decode(body.as_ref(), limits())
}

fn read_msgpack(body: impl AsRef<[u8]>) -> Result<Batch, BatchError> {
    msgpack::decode(body.as_ref(), limits())
}

/// The batch, or the code it is refused with, which must be the same from both formats.
fn read_both(value: &Value) -> Result<Batch, &'static str> {
    let from_json = read_json(value.to_string());
    let from_msgpack = read_msgpack(pack::pack(value));
    let codes = from_json.as_ref().err().map(|error| error.fault.code());
    if codes == Some("json_depth") {
        assert_eq!(from_msgpack.unwrap_err().fault.code(), "msgpack_depth", "{value}");
        return Err("depth");
    }
    assert_eq!(codes, from_msgpack.as_ref().err().map(|error| error.fault.code()), "{value}");
    assert_eq!(from_json.as_ref().ok(), from_msgpack.as_ref().ok(), "{value}");
    from_json.map_err(|error| error.fault.code())
}

fn code(result: &Result<Batch, BatchError>) -> &'static str {
    result.as_ref().map_or_else(|error| error.fault.code(), |_| "accepted")
}
