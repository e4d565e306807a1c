//! When the next request is due: at once (closed model), or at its own time whatever the answers do (open model).

use std::time::Duration;

use tokio::time::Instant;

use crate::random::Random;

/// Hands out the requests of a run. All connections take from the same one.
#[derive(Debug)]
pub struct Pace {
    ends_at: Instant,
    batches_left: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    mean_gap_secs: f64,
    next_at: Instant,
    random: Random,
}

impl Pace {
    /// A run from `starts_at`, over after `lasts` or `batches`, whichever is first; `rate` is per second.
    pub fn new(starts_at: Instant, lasts: Duration, batches: u64, rate: Option<f64>, seed: u64) -> Self {
        let open = rate.map(|rate| Open { mean_gap_secs: 1.0 / rate, next_at: starts_at, random: Random::new(seed) });
        Self { ends_at: starts_at + lasts, batches_left: batches, open }
    }

    /// When the next request is meant to be sent; `None` when the run is over.
    ///
    /// In the open model the time may lie ahead, then wait for it, or behind: latency counts from it all the same.
    /// Senders on the road know nothing of each other, so the gaps are exponential.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
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

    /// Whether nothing more is due.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.ends_at || self.batches_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_run_has_its_rate_whenever_it_is_asked() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::from_secs(10), u64::MAX, Some(1_000.0), 3);
        let mut due = start;
        let mut count = 0;
        while let Some(next) = pace.take(start) {
            assert!(next >= due);
            due = next;
            count += 1;
        }
        assert!((9_600..10_400).contains(&count), "{count}");
    }

    #[test]
    fn a_closed_run_is_due_at_once_and_ends_in_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::from_secs(10), u64::MAX, None, 3);
        let later = start + Duration::from_secs(9);
        assert_eq!(pace.take(later), Some(later));
        assert_eq!(pace.take(start + Duration::from_secs(10)), None);
    }

    #[test]
    fn a_run_of_some_batches_is_over_after_them() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::from_secs(10), 2, None, 3);
        assert_eq!(
            [pace.take(start).is_some(), pace.take(start).is_some(), pace.take(start).is_some()],
            [true, true, false]
        );
    }
}
