//! Bytes to a checked [`Batch`](crate::batch::Batch), one file per format.
//!
//! All formats share their meaning: `draft` collects the members of one fix, `envelope` what stands around the fixes.
//! A format's file only knows how to walk its bytes. A bad fix becomes a reject and the walk goes on; what cannot be
//! walked fails the batch. For the same reason every fault of an envelope is reported in one fixed order, whatever the
//! order of its members: see `Envelope::finish`.

pub mod cursor;
mod draft;
mod envelope;
mod error;
pub mod json;
pub mod msgpack;
pub mod timestamp;

pub use error::{BATCH_CATALOGUE, BatchError, BatchFault};

use crate::fix::TimeWindow;

/// Fixes in one batch. A day of a phone that reports every ten seconds fits.
pub const MAX_FIXES_PER_BATCH: u32 = 10_000;

/// Characters in a device's name.
pub const MAX_DEVICE_CHARS: usize = 128;

/// Objects and arrays within one another, in a value that is skipped. Each level costs a stack frame, and no sender
/// that means well needs more than a few.
pub const MAX_DEPTH: u8 = 64;

/// What a batch may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Usually `MAX_FIXES_PER_BATCH`.
    pub max_fixes: u32,
    /// The span of times that are believed.
    pub window: TimeWindow,
}

impl Limits {
    /// Times from the year 2000, or `kept_from_millis` if that is later, to `future_millis` after `now_millis`.
    pub const fn new(max_fixes: u32, now_millis: i64, future_millis: i64, kept_from_millis: i64) -> Self {
        let latest_millis = now_millis.saturating_add(future_millis);
        Self { max_fixes, window: TimeWindow { kept_from_millis, latest_millis } }
    }
}
