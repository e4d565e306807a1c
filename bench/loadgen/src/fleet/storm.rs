//! Measures the reconnects after every connection was cut at once.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use crate::fleet::connect::ConnectError;
use crate::outcomes::{LatencyHistogram, LatencyQuantiles};

/// Counts of reconnected drivers and watchers.
pub struct Storm {
    drivers: usize,
    watchers: usize,
    drivers_back: LatencyHistogram,
    watchers_back: LatencyHistogram,
    refusals: BTreeMap<&'static str, u64>,
}

/// Report on the reconnects.
#[derive(Debug, Serialize)]
pub struct StormReport {
    /// Number of connections that were cut.
    pub cut: usize,
    /// Number of connections that were restored.
    pub back: u64,
    /// Time from the cut to the first receipt over the new connection.
    pub drivers: LatencyQuantiles,
    /// Time from the cut to the complete snapshot.
    pub watchers: LatencyQuantiles,
    /// Time until all were restored; none if one was not.
    pub all_back_secs: Option<f64>,
    /// Attempts that failed, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
}

impl Storm {
    /// Creates empty counts. Never `None`: the bounds of the histograms are valid constants.
    pub fn new(drivers: usize, watchers: usize) -> Option<Self> {
        Some(Self {
            drivers,
            watchers,
            drivers_back: LatencyHistogram::new()?,
            watchers_back: LatencyHistogram::new()?,
            refusals: BTreeMap::new(),
        })
    }

    /// Records the first receipt of a driver after the cut.
    pub fn driver_is_back(&mut self, cut_at: Instant) {
        self.drivers_back.record(cut_at.elapsed());
    }

    /// Records the snapshot of a watcher after the cut.
    pub fn watcher_is_back(&mut self, cut_at: Instant) {
        self.watchers_back.record(cut_at.elapsed());
    }

    /// Counts a failed attempt.
    pub fn refused(&mut self, fault: &ConnectError) {
        *self.refusals.entry(fault.name()).or_default() += 1;
    }

    /// Returns whether all are back.
    pub fn is_over(&self) -> bool {
        self.report().all_back_secs.is_some()
    }

    /// Returns the report.
    pub fn report(&self) -> StormReport {
        let (drivers, watchers) = (self.drivers_back.quantiles(), self.watchers_back.quantiles());
        let (cut, back) = (self.drivers + self.watchers, drivers.count + watchers.count);
        let longest_millis = drivers.max_millis.max(watchers.max_millis);
        StormReport {
            cut,
            back,
            all_back_secs: (usize::try_from(back) == Ok(cut)).then_some(longest_millis / 1_000.0),
            drivers,
            watchers,
            refusals: self.refusals.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_is_over_with_the_last_one() {
        let mut storm = Storm::new(1, 1).unwrap();
        let cut_at = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        storm.driver_is_back(cut_at);
        storm.refused(&ConnectError::Unreadable);
        assert!(!storm.is_over());
        storm.watcher_is_back(cut_at);
        let report = storm.report();
        assert_eq!((report.cut, report.back, report.refusals.get("unreadable")), (2, 2, Some(&1)));
        assert!((1.9..3.0).contains(&report.all_back_secs.unwrap()));
    }
}
