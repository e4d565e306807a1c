//! When what happens. Every driver has a schedule of its own that no answer moves: latency counts from the time a batch
//! was due, so a server that stalls is charged for everything that waited meanwhile.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::fleet::args::Fleet;
use crate::random::Random;
use crate::trace::TraceOptions;

/// The times of a run.
#[derive(Debug)]
pub struct Plan {
    /// Drivers begin.
    pub starts_at: Instant,
    /// What is due from here on is measured.
    pub measures_at: Instant,
    /// Nothing more is due.
    pub ends_at: Instant,
    /// Every connection is cut.
    pub cuts_at: Option<Instant>,
    /// `starts_at` by the clock on the wall, milliseconds since 1970.
    pub starts_millis: i64,
    every: Duration,
}

/// When the batches of one driver are due.
#[derive(Debug)]
pub struct Schedule {
    next_at: Instant,
    every: Duration,
}

impl Plan {
    /// The plan of a run that starts now.
    pub fn new(args: &Fleet, now: Instant) -> Self {
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

    /// Whether an event of this time is measured.
    pub fn measures(&self, at: Instant) -> bool {
        at >= self.measures_at && at < self.ends_at
    }

    /// The schedule of a driver: its first batch falls anywhere within the first interval.
    pub fn schedule(&self, random: &mut Random) -> Schedule {
        Schedule { next_at: self.starts_at + self.every.mul_f64(random.unit()), every: self.every }
    }

    /// Options of the drivers' ways: the fixes of a batch lie in the interval before it, by the clock on the wall.
    pub fn trace(&self, args: &Fleet) -> TraceOptions {
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
    /// When the next batch is due.
    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// The next batch was sent.
    pub fn advance(&mut self) {
        self.next_at += self.every;
    }
}

/// A length from the command line.
pub fn secs(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or_default()
}

/// Milliseconds since 1970.
pub fn now_millis() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Mode};
    use clap::Parser;

    fn args(line: &[&str]) -> Fleet {
        let Mode::Fleet(args) = Cli::parse_from([&["loadgen", "fleet"], line].concat()).mode else {
            panic!("a fleet was asked for");
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
        assert_eq!([4, 5, 14, 15].map(|whole| plan.measures(after(whole))), [false, true, true, false]);
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
