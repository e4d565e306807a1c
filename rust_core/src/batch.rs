//! Fixes sent together, as columns: one allocation per member instead of one per fix.

use crate::fix::{DAY_MILLIS, Fix};
use crate::reject::Reject;

/// Parallel columns of checked fixes, in the order they were sent. All columns have the same length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Device's clock, milliseconds since 1970 UTC.
    pub fixed_at_millis: Vec<i64>,
    /// 1e-7 degrees.
    pub lat_e7: Vec<i32>,
    /// 1e-7 degrees.
    pub lon_e7: Vec<i32>,
    /// Decimetres, or `NONE_I32`.
    pub altitude_dm: Vec<i32>,
    /// Centimetres per second, or `NONE_I16`.
    pub speed_cmps: Vec<i16>,
    /// 0.01 degrees from -18,000, or `NONE_I16`.
    pub heading_cdeg: Vec<i16>,
    /// Decimetres, or `NONE_I16`.
    pub accuracy_dm: Vec<i16>,
    /// Thousandths, or `NONE_I16`.
    pub battery_permille: Vec<i16>,
}

impl Columns {
    /// Empty columns with room for `capacity` fixes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            fixed_at_millis: Vec::with_capacity(capacity),
            lat_e7: Vec::with_capacity(capacity),
            lon_e7: Vec::with_capacity(capacity),
            altitude_dm: Vec::with_capacity(capacity),
            speed_cmps: Vec::with_capacity(capacity),
            heading_cdeg: Vec::with_capacity(capacity),
            accuracy_dm: Vec::with_capacity(capacity),
            battery_permille: Vec::with_capacity(capacity),
        }
    }

    /// Appends one fix.
    #[inline]
    pub fn push(&mut self, fix: Fix) {
        self.fixed_at_millis.push(fix.fixed_at_millis);
        self.lat_e7.push(fix.lat_e7);
        self.lon_e7.push(fix.lon_e7);
        self.altitude_dm.push(fix.altitude_dm);
        self.speed_cmps.push(fix.speed_cmps);
        self.heading_cdeg.push(fix.heading_cdeg);
        self.accuracy_dm.push(fix.accuracy_dm);
        self.battery_permille.push(fix.battery_permille);
    }

    /// The fix at `index`, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<Fix> {
        Some(Fix {
            fixed_at_millis: *self.fixed_at_millis.get(index)?,
            lat_e7: *self.lat_e7.get(index)?,
            lon_e7: *self.lon_e7.get(index)?,
            altitude_dm: *self.altitude_dm.get(index)?,
            speed_cmps: *self.speed_cmps.get(index)?,
            heading_cdeg: *self.heading_cdeg.get(index)?,
            accuracy_dm: *self.accuracy_dm.get(index)?,
            battery_permille: *self.battery_permille.get(index)?,
        })
    }

    /// Number of fixes.
    pub fn len(&self) -> usize {
        self.fixed_at_millis.len()
    }

    /// Whether there is no fix.
    pub fn is_empty(&self) -> bool {
        self.fixed_at_millis.is_empty()
    }
}

/// A decoded batch: what was accepted, what was refused, and who it says it is from.
///
/// `columns.len() + rejects.len()` is the number of fixes sent; `rejects` ascend by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The envelope's `device`, if it had one.
    pub device: Option<String>,
    /// The envelope's `id`, by which a socket's receipt names the batch.
    pub message_id: Option<String>,
    /// The accepted fixes.
    pub columns: Columns,
    /// The refused ones.
    pub rejects: Vec<Reject>,
}

impl Batch {
    /// Number of fixes in the batch as sent.
    pub fn sent(&self) -> usize {
        self.columns.len() + self.rejects.len()
    }

    /// The UTC days of the accepted fixes as days since 1970, ascending, each once.
    pub fn days(&self) -> Vec<i64> {
        let mut days: Vec<i64> =
            self.columns.fixed_at_millis.iter().map(|millis| millis.div_euclid(DAY_MILLIS)).collect();
        days.sort_unstable();
        days.dedup();
        days
    }

    /// The accepted fixes in batches of at most so many UTC days each, the oldest days first; within one, in the order
    /// they were sent. The pieces name no device and no message.
    pub fn by_days(&self, max_days: usize) -> Vec<Self> {
        let days = self.days();
        let mut pieces = vec![Self::default(); days.len().div_ceil(max_days.max(1))];
        for index in 0..self.columns.len() {
            let Some(fix) = self.columns.get(index) else { continue };
            let place = days.partition_point(|day| *day < fix.fixed_at_millis.div_euclid(DAY_MILLIS)) / max_days.max(1);
            if let Some(piece) = pieces.get_mut(place) {
                piece.columns.push(fix);
            }
        }
        pieces
    }
}
