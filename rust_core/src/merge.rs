//! Many small segments of a device become few large ones.
//!
//! The caller holds the lock on the device, reads segments, deletes them and writes what comes out of here, in one
//! transaction. Nothing is dropped here: a time that two segments share is an error and not a duplicate, because what
//! is stored has been through `group` and is stored once.

use std::ops::Range;

use thiserror::Error;

use crate::batch::Columns;
use crate::copy;
use crate::fix::DAY_MILLIS;
use crate::segment::segment;
use crate::track::{SegmentArrays, TrackError};

/// A segment as it was read.
#[derive(Clone, Copy, Debug)]
pub struct StoredSegment<'a> {
    /// Start of the segment.
    pub first_at_millis: i64,
    /// When it was received.
    pub received_at_millis: i64,
    /// Its columns.
    pub arrays: SegmentArrays<'a>,
}

/// Rows to write in place of those read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Binary COPY; empty when nothing was given.
    pub copy: Vec<u8>,
    /// Number of rows.
    pub segments: usize,
    /// Fixes in them, as many as were read.
    pub fixes: usize,
}

/// Why segments cannot be merged; they stay as they are.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MergeError {
    /// One of them cannot be read.
    #[error(transparent)]
    Segment(#[from] TrackError),
    /// Two fixes of one time.
    #[error("the time {fixed_at_millis} is stored twice")]
    Twice {
        /// Milliseconds since 1970.
        fixed_at_millis: i64,
    },
}

/// Merges segments of one device, in any order, overlapping or not.
///
/// Rows ascend by time, do not overlap, hold at most `max_fixes` fixes, about equally many, and never cross a UTC day.
/// A row was received when the latest received of its parts was.
///
/// # Errors
/// A segment cannot be read, or a time is stored twice.
pub fn merge(
    tenant_id: i32,
    device_id: i64,
    stored: &[StoredSegment<'_>],
    max_fixes: usize,
) -> Result<Merged, MergeError> {
    let mut fixes = Vec::new();
    for part in stored {
        fixes.extend(part.arrays.fixes(part.first_at_millis)?.map(|fix| (fix, part.received_at_millis)));
    }
    // Ascending runs, one for each part: the sort finds and merges them.
    fixes.sort_by_key(|(fix, _)| fix.fixed_at_millis);
    let mut columns = Columns::with_capacity(fixes.len());
    let mut last_millis = None;
    for (fix, _) in &fixes {
        if last_millis == Some(fix.fixed_at_millis) {
            return Err(MergeError::Twice { fixed_at_millis: fix.fixed_at_millis });
        }
        last_millis = Some(fix.fixed_at_millis);
        columns.push(*fix);
    }
    let rows = pieces(&columns.fixed_at_millis, max_fixes.max(1)).into_iter().filter_map(|range| {
        let received_at_millis = fixes.get(range.clone())?.iter().map(|(_, received)| *received).max()?;
        Some((segment(tenant_id, device_id, &columns, range)?, received_at_millis))
    });
    let rows: Vec<_> = rows.collect();
    Ok(Merged { copy: copy::render(&rows), segments: rows.len(), fixes: fixes.len() })
}

/// Cuts ascending times where a UTC day ends, and a day into equal parts that are not too long.
fn pieces(times: &[i64], max_fixes: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for day in times.chunk_by(|a, b| a.div_euclid(DAY_MILLIS) == b.div_euclid(DAY_MILLIS)) {
        let end = start + day.len();
        let part = day.len().div_ceil(day.len().div_ceil(max_fixes));
        pieces.extend((start..end).step_by(part).map(|from| from..end.min(from + part)));
        start = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_cut_into_equal_parts() {
        let day = 20_000 * DAY_MILLIS;
        let times: Vec<i64> = (0..7).map(|second| day - 2_000 + second * 1_000).collect();
        assert_eq!(pieces(&times, 3), [0..2, 2..5, 5..7]);
        assert_eq!(pieces(&times, 10), [0..2, 2..7]);
        assert_eq!(pieces(&[], 3), []);
    }
}
