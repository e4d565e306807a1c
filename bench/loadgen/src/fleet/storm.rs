//! How everyone comes back after every connection was cut at once.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use crate::fleet::connect::Fault;
use crate::fleet::world::fault_name;
use crate::tally::{Latencies, Latency};

/// Who came back so far.
pub struct Storm {
    drivers: usize,
    watchers: usize,
    drivers_back: Latencies,
    watchers_back: Latencies,
    refusals: BTreeMap<&'static str, u64>,
}

/// What is reported of it.
#[derive(Debug, Serialize)]
pub struct StormReport {
    /// Connections that were cut.
    pub cut: usize,
    /// Those that came back.
    pub back: u64,
    /// From the cut to the first receipt over the new connection.
    pub drivers: Latency,
    /// From the cut to the whole snapshot.
    pub watchers: Latency,
    /// Until the last of all was back; none if somebody was not.
    pub all_back_secs: Option<f64>,
    /// Attempts that failed, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
}

impl Storm {
    /// Nothing happened yet. `None` is impossible: the histograms' bounds are constants that fit.
    pub fn new(drivers: usize, watchers: usize) -> Option<Self> {
        Some(Self {
            drivers,
            watchers,
            drivers_back: Latencies::new()?,
            watchers_back: Latencies::new()?,
            refusals: BTreeMap::new(),
        })
    }

    /// A driver has its first receipt again.
    pub fn driver_is_back(&mut self, cut_at: Instant) {
        self.drivers_back.record(cut_at.elapsed());
    }

    /// A watcher has its snapshot again.
    pub fn watcher_is_back(&mut self, cut_at: Instant) {
        self.watchers_back.record(cut_at.elapsed());
    }

    /// An attempt failed.
    pub fn refused(&mut self, fault: &Fault) {
        *self.refusals.entry(fault_name(fault)).or_default() += 1;
    }

    /// Whether nobody is missing.
    pub fn is_over(&self) -> bool {
        self.report().all_back_secs.is_some()
    }

    /// The report.
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
        storm.refused(&Fault::Unreadable);
        assert!(!storm.is_over());
        storm.watcher_is_back(cut_at);
        let report = storm.report();
        assert_eq!((report.cut, report.back, report.refusals.get("unreadable")), (2, 2, Some(&1)));
        assert!((1.9..3.0).contains(&report.all_back_secs.unwrap()));
    }
}
