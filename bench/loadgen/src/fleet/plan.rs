//! Times of a run. Every driver has its own schedule, which answers do not change: latency counts from a batch's due
//! time, so that a stalled server is charged for every delayed batch.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::fleet::args::FleetArgs;
use crate::random::Random;
use crate::trace::TraceOptions;

/// Times of a run.
#[derive(Debug)]
pub struct Plan {
    /// Drivers start.
    pub starts_at: Instant,
    /// The measurement starts.
    pub measures_at: Instant,
    /// The run ends.
    pub ends_at: Instant,
    /// Every connection is cut, if planned.
    pub cuts_at: Option<Instant>,
    /// `starts_at` by the wall clock, milliseconds since 1970.
    pub starts_millis: i64,
    every: Duration,
}

/// Due times of the batches of one driver.
#[derive(Debug)]
pub struct Schedule {
    next_at: Instant,
    every: Duration,
}

impl Plan {
    /// Plans a run that starts now.
    pub fn new(args: &FleetArgs, now: Instant) -> Self {
        let measures_at = now + secs(args.warm_secs);
        Self {
            starts_at: now,
            measures_at,
            ends_at: measures_at + secs(args.duration_secs),
            cuts_at: args.cut_at_secs.map(|after| measures_at + secs(after)),
            starts_millis: now_millis(),
            every: secs(args.every_secs).max(Duration::from_millis(1)),
        }
    }

    /// Returns whether a time is within the measurement.
    pub fn is_measured(&self, at: Instant) -> bool {
        at >= self.measures_at && at < self.ends_at
    }

    /// Creates the schedule of a driver; the first batch is due at a random time of the first interval.
    pub fn schedule(&self, random: &mut Random) -> Schedule {
        Schedule { next_at: self.starts_at + self.every.mul_f64(random.unit()), every: self.every }
    }

    /// Returns the options of the drivers' traces: the fixes of a batch lie in the interval before it, by the wall clock.
    pub fn trace(&self, args: &FleetArgs) -> TraceOptions {
        let every_millis = i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX).max(1);
        let fixes = i64::try_from(args.batch_size.max(1)).unwrap_or(1);
        TraceOptions {
            seed: args.seed,
            batch_fixes: args.batch_size.max(1),
            first_fix_millis: self.starts_millis - every_millis,
            fix_interval_millis: (every_millis / fixes).max(1),
            late_share: 0.0,
            late_millis: 0,
        }
    }
}

impl Schedule {
    /// Due time of the next batch.
    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Advances to the next batch.
    pub fn advance(&mut self) {
        self.next_at += self.every;
    }
}

/// Converts seconds from the command line to a duration.
pub fn secs(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or_default()
}

/// Wall clock in milliseconds since 1970.
pub fn now_millis() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Mode};
    use clap::Parser;

    fn args(line: &[&str]) -> FleetArgs {
        let Mode::Fleet(args) = Cli::parse_from([&["loadgen", "fleet"], line].concat()).mode else {
            panic!("a fleet expected");
        };
        args
    }

    #[test]
    fn a_schedule_keeps_its_interval_whatever_is_late() {
        let start = Instant::now();
        let plan = Plan::new(&args(&["--every-secs", "30", "--duration-secs", "90"]), start);
        let mut schedule = plan.schedule(&mut Random::new(4));
        let first = schedule.next_at();
        assert!(first >= start && first < start + Duration::from_secs(30));
        schedule.advance();
        assert_eq!(schedule.next_at(), first + Duration::from_secs(30));
    }

    #[test]
    fn only_what_is_due_between_warm_up_and_end_is_measured() {
        let start = Instant::now();
        let plan = Plan::new(&args(&["--warm-secs", "5", "--duration-secs", "10", "--cut-at-secs", "2"]), start);
        let after = |whole| start + Duration::from_secs(whole);
        assert_eq!([4, 5, 14, 15].map(|whole| plan.is_measured(after(whole))), [false, true, true, false]);
        assert_eq!(plan.cuts_at, Some(after(7)));
    }

    #[test]
    fn the_fixes_of_a_batch_fill_its_interval() {
        let plan = Plan::new(&args(&["--every-secs", "30", "--batch-size", "10"]), Instant::now());
        let options = plan.trace(&args(&["--batch-size", "10"]));
        assert_eq!((options.fix_interval_millis, options.batch_fixes), (3_000, 10));
        assert_eq!(options.first_fix_millis, plan.starts_millis - 30_000);
    }
}
