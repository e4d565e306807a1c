//! Late fixes: where history may hold them already, and which of them it does.
//!
//! A device may send a fix of today beside one of ten years ago. So history is looked up by clusters of times, each
//! within one UTC day as stored rows are, and never from the oldest late fix to the newest one.

use crate::fix::DAY_MILLIS;
use crate::packed;
use crate::pg_array::ArrayError;

/// Late fixes with no longer gap between them are looked up as one span: more than the usual interval of a phone, less
/// than what a look-up would read for nothing at a fix a second.
const CLUSTER_GAP_MILLIS: i64 = 10 * 60 * 1000;

/// Where history may hold fixes of the group already: within one UTC day, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateSpan {
    /// The company.
    pub tenant_id: i32,
    /// The device whose batches reach back.
    pub device_id: i64,
    /// Its oldest late fix of the cluster.
    pub from_millis: i64,
    /// Its newest late fix of the cluster.
    pub to_millis: i64,
}

/// A stored segment that overlaps a late span.
#[derive(Clone, Copy, Debug)]
pub struct StoredTimes<'a> {
    /// The company.
    pub tenant_id: i32,
    /// What sent the fixes.
    pub device_id: i64,
    /// Start of the segment.
    pub first_at_millis: i64,
    /// Times of the fixes from there.
    pub offsets: Offsets<'a>,
}

/// Times of a segment's fixes, in milliseconds from its start.
#[derive(Clone, Copy, Debug)]
pub enum Offsets<'a> {
    /// `record_send(offset_millis)`.
    Packed(&'a [u8]),
    /// The first at 0, the others at the same distance from each other.
    Every {
        /// Milliseconds, at least 1 where there is more than one fix.
        step_millis: i64,
        /// Number of fixes.
        fix_count: i64,
    },
}

impl StoredTimes<'_> {
    /// Appends those of `times` (ascending) that the segment holds, in no order.
    ///
    /// # Errors
    /// `Packed` cannot be read.
    pub fn push_held(&self, times: &[i64], held: &mut Vec<i64>) -> Result<(), ArrayError> {
        match self.offsets {
            Offsets::Packed(bytes) => {
                for offset in packed::read(bytes)? {
                    let time = self.first_at_millis + i64::from(offset);
                    if times.binary_search(&time).is_ok() {
                        held.push(time);
                    }
                }
            }
            Offsets::Every { step_millis, fix_count } => {
                let step_millis = step_millis.max(1);
                let is_held = |time: &i64| {
                    let offset = time - self.first_at_millis;
                    offset >= 0 && offset % step_millis == 0 && offset / step_millis < fix_count
                };
                let start = times.partition_point(|time| *time < self.first_at_millis);
                let within_a_day = |time: &&i64| **time < self.first_at_millis + DAY_MILLIS;
                held.extend(times.iter().skip(start).take_while(within_a_day).filter(|time| is_held(time)));
            }
        }
        Ok(())
    }
}

/// Appends the spans of a device's late fixes, whose times ascend.
pub(crate) fn push_spans(tenant_id: i32, device_id: i64, times: &[i64], spans: &mut Vec<LateSpan>) {
    let within = |before: i64, after: i64| {
        after - before <= CLUSTER_GAP_MILLIS && before.div_euclid(DAY_MILLIS) == after.div_euclid(DAY_MILLIS)
    };
    for cluster in times.chunk_by(|before, after| within(*before, *after)) {
        if let (Some(from), Some(to)) = (cluster.first(), cluster.last()) {
            spans.push(LateSpan { tenant_id, device_id, from_millis: *from, to_millis: *to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans(times: &[i64]) -> Vec<(i64, i64)> {
        let mut spans = Vec::new();
        push_spans(1, 2, times, &mut spans);
        spans.iter().map(|span| (span.from_millis, span.to_millis)).collect()
    }

    #[test]
    fn times_far_apart_or_of_two_days_are_spans_of_their_own() {
        let noon = 20_000 * DAY_MILLIS + DAY_MILLIS / 2;
        let years_ago = noon - 3_650 * DAY_MILLIS;
        assert_eq!(spans(&[]), []);
        assert_eq!(
            spans(&[years_ago, noon, noon + CLUSTER_GAP_MILLIS]),
            [(years_ago, years_ago), (noon, noon + CLUSTER_GAP_MILLIS)]
        );
        assert_eq!(spans(&[noon, noon + CLUSTER_GAP_MILLIS + 1]).len(), 2);
        let midnight = 20_000 * DAY_MILLIS;
        assert_eq!(spans(&[midnight - 1, midnight]), [(midnight - 1, midnight - 1), (midnight, midnight)]);
    }

    proptest! {
        #[test]
        fn a_regular_segment_holds_what_its_times_one_by_one_say(
            first_at_millis in -5_i64..5,
            step_millis in 1_i64..5,
            fix_count in 1_i64..20,
            mut times in proptest::collection::vec(-20_i64..100, 0..60),
        ) {
            times.sort_unstable();
            times.dedup();
            let every = Offsets::Every { step_millis, fix_count };
            let mut packed = Vec::new();
            let offsets: Vec<i32> = (0..fix_count).map(|place| i32::try_from(place * step_millis).unwrap_or(0)).collect();
            packed::push(&mut packed, offsets.into_iter());
            let body = packed.get(4..).unwrap_or_default();
            let segment = |offsets| StoredTimes { tenant_id: 1, device_id: 2, first_at_millis, offsets };
            let (mut by_step, mut by_packed) = (Vec::new(), Vec::new());
            segment(every).push_held(&times, &mut by_step)?;
            segment(Offsets::Packed(body)).push_held(&times, &mut by_packed)?;
            prop_assert_eq!(by_step, by_packed);
        }
    }
}
