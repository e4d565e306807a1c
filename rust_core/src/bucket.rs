//! Token buckets, each kept as one number: the time at which it is full again (GCRA, the generic cell rate algorithm).
//!
//! ```text
//! now                      full_at           now + depth
//!  |--------- missing --------|---- still there ----|
//! ```
//!
//! A take moves `full_at` to the right by what it costs in time, and is refused where that would pass `now + depth`.
//! What time brings back needs no work, and a bucket whose `full_at` has passed is as good as one never seen.
//!
//! The same arithmetic stands in `python/fleetwire/access/lua/bucket.lua` and in the tests' reference; all three pass
//! `tests/core/bucket_vectors.json`. Numbers stay below 2^53, which Lua holds exactly.

mod table;

pub use table::{Buckets, Charge, Refusal};

/// A quarter of what Lua's numbers hold exactly: room for the time since 1970, and for debts.
const MAX_PRODUCT: i64 = 1 << 51;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    quota: i64,
    period_micros: i64,
    burst: i64,
    depth_micros: i64,
}

/// What a bucket says to a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cost is there; afterwards the bucket is full at this time.
    Allowed {
        /// Microseconds on the caller's clock.
        full_at_micros: i64,
    },
    /// The cost is there after this time, if nobody else takes it; at least 1.
    Refused {
        /// Microseconds from now.
        wait_micros: i64,
    },
}

/// What is left in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whole units that can be taken now.
    pub remaining: i64,
    /// Until it is full.
    pub reset_micros: i64,
}

impl Rate {
    /// `quota` units in every period, and `burst` of them at once. None where a number is zero, or so large that a
    /// product of them is not exact in Lua.
    pub fn new(quota: u32, period_micros: i64, burst: u32) -> Option<Self> {
        let (quota, burst) = (i64::from(quota), i64::from(burst));
        if quota == 0 || burst == 0 || period_micros <= 0 {
            return None;
        }
        burst.checked_mul(period_micros)?.checked_add(quota).filter(|product| *product <= MAX_PRODUCT)?;
        let depth_micros = (burst * period_micros).div_ceil_positive(quota);
        Some(Self { quota, period_micros, burst, depth_micros })
    }

    /// The time in which a cost flows in. Rounded up, so that many small takes never get more than the quota.
    fn span_micros(&self, cost: u32) -> i64 {
        i64::from(cost).saturating_mul(self.period_micros).div_ceil_positive(self.quota)
    }

    /// Whether a cost may be taken.
    ///
    /// A cost above the burst is allowed where the bucket is full, and leaves it in debt: it is never refused for ever,
    /// and the quota holds all the same.
    pub fn judge(&self, full_at_micros: i64, cost: u32, now_micros: i64) -> Verdict {
        let from_micros = full_at_micros.max(now_micros);
        let span_micros = self.span_micros(cost);
        let missing_micros = from_micros.saturating_sub(now_micros);
        let room_micros = self.depth_micros - span_micros.min(self.depth_micros);
        if missing_micros <= room_micros {
            return Verdict::Allowed { full_at_micros: from_micros.saturating_add(span_micros) };
        }
        Verdict::Refused { wait_micros: missing_micros - room_micros }
    }

    /// What is left now.
    pub fn left(&self, full_at_micros: i64, now_micros: i64) -> Left {
        let reset_micros = full_at_micros.saturating_sub(now_micros).max(0);
        let there_micros = (self.depth_micros - reset_micros).max(0);
        let remaining = (there_micros * self.quota / self.period_micros).min(self.burst);
        Left { remaining, reset_micros }
    }
}

trait DivCeil {
    fn div_ceil_positive(self, by: Self) -> Self;
}

impl DivCeil for i64 {
    /// The quotient of two numbers that are not negative, rounded up.
    fn div_ceil_positive(self, by: Self) -> Self {
        self / by + Self::from(self % by != 0)
    }
}
