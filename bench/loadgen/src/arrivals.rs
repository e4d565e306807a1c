//! Due times of requests: immediately (closed model), or by a schedule independent of the answers (open model).

use std::time::Duration;

use tokio::time::Instant;

use crate::random::Random;

/// Due times of a run, shared by all connections.
#[derive(Debug)]
pub struct Arrivals {
    ends_at: Instant,
    batches_left: u64,
    open: Option<OpenModel>,
}

#[derive(Debug)]
struct OpenModel {
    mean_gap_secs: f64,
    next_at: Instant,
    random: Random,
}

impl Arrivals {
    /// Creates a run from `starts_at` that ends after `duration` or `batches`, whichever is first; `rate` is per second.
    pub fn new(starts_at: Instant, duration: Duration, batches: u64, rate: Option<f64>, seed: u64) -> Self {
        let open =
            rate.map(|rate| OpenModel { mean_gap_secs: 1.0 / rate, next_at: starts_at, random: Random::new(seed) });
        Self { ends_at: starts_at + duration, batches_left: batches, open }
    }

    /// Returns the due time of the next request; `None` when the run is over.
    ///
    /// In the open model it may be in the future, to be awaited, or in the past; latency counts from it in both cases.
    /// Gaps are exponential, as of independent senders.
    pub fn next_due(&mut self, now: Instant) -> Option<Instant> {
        let due = match &mut self.open {
            None => now,
            Some(open) => {
                let gap_secs = -(1.0 - open.random.unit()).ln() * open.mean_gap_secs;
                open.next_at += Duration::from_secs_f64(gap_secs);
                open.next_at
            }
        };
        if due >= self.ends_at {
            return None;
        }
        self.batches_left = self.batches_left.checked_sub(1)?;
        Some(due)
    }

    /// Returns whether no more requests are due.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.ends_at || self.batches_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_run_has_its_rate_whenever_it_is_polled() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start, Duration::from_secs(10), u64::MAX, Some(1_000.0), 3);
        let mut due = start;
        let mut count = 0;
        while let Some(next) = arrivals.next_due(start) {
            assert!(next >= due);
            due = next;
            count += 1;
        }
        assert!((9_600..10_400).contains(&count), "{count}");
    }

    #[test]
    fn a_closed_run_is_due_at_once_and_ends_in_time() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start, Duration::from_secs(10), u64::MAX, None, 3);
        let later = start + Duration::from_secs(9);
        assert_eq!(arrivals.next_due(later), Some(later));
        assert_eq!(arrivals.next_due(start + Duration::from_secs(10)), None);
    }

    #[test]
    fn a_run_of_some_batches_is_over_after_them() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start, Duration::from_secs(10), 2, None, 3);
        assert_eq!(
            [
                arrivals.next_due(start).is_some(),
                arrivals.next_due(start).is_some(),
                arrivals.next_due(start).is_some()
            ],
            [true, true, false]
        );
    }
}
