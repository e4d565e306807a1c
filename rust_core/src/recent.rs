//! Times of the last batch of each device that was stored here: what is sent again is known without a look at history.
//!
//! A fix that is stored stays stored, so what is remembered is true; it is only not all there is. Retention is no
//! exception while it stays as it is: a fix that it may have dropped is refused before it comes here. Where a retention is
//! changed, or the database may be another one, the holder clears this.

use rustc_hash::FxHashMap;

use crate::group::Group;

/// A bounded memory. When it is full it begins anew, because forgetting costs a query and no more.
#[derive(Debug)]
pub struct Recent {
    max_fixes: usize,
    fixes: usize,
    times: FxHashMap<(i32, i64), Box<[i64]>>,
}

impl Recent {
    /// Of at most so many fixes, at 8 bytes each.
    pub fn new(max_fixes: usize) -> Self {
        Self { max_fixes, fixes: 0, times: FxHashMap::default() }
    }

    /// Times of the device's last batch, ascending, in milliseconds since 1970; empty if it is not known.
    pub fn times(&self, tenant_id: i32, device_id: i64) -> &[i64] {
        self.times.get(&(tenant_id, device_id)).map_or(&[], AsRef::as_ref)
    }

    /// Knows nothing any more.
    pub fn forget(&mut self) {
        self.times.clear();
        self.fixes = 0;
    }

    /// A copy of what is known of a group's devices.
    ///
    /// Between the look at history and the sealing of a group this one may forget: what was left out of that look because
    /// it was remembered would be stored once more.
    #[must_use]
    pub fn only<B: std::borrow::Borrow<crate::batch::Batch>>(&self, group: &Group<B>) -> Self {
        let known = |key| self.times.get(&key).map(|times| (key, times.clone()));
        let times: FxHashMap<_, _> = group.devices().filter_map(known).collect();
        Self { max_fixes: self.max_fixes, fixes: times.values().map(|times| times.len()).sum(), times }
    }

    /// The group is committed: all that was accepted of it is stored, now or before.
    pub fn remember<B: std::borrow::Borrow<crate::batch::Batch>>(&mut self, group: &Group<B>) {
        for member in group.members() {
            let mut times = member.batch.borrow().columns.fixed_at_millis.clone();
            times.sort_unstable();
            if self.fixes + times.len() > self.max_fixes {
                self.forget();
            }
            self.fixes += times.len();
            let before = self.times.insert((member.tenant_id, member.device_id), times.into());
            self.fixes -= before.map_or(0, |times| times.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Columns};
    use crate::fix::Fix;
    use crate::group::Member;

    fn fix(fixed_at_millis: i64) -> Fix {
        Fix {
            fixed_at_millis,
            lat_e7: 0,
            lon_e7: 0,
            altitude_dm: 0,
            speed_cmps: 0,
            heading_cdeg: 0,
            accuracy_dm: 0,
            battery_permille: 0,
        }
    }

    fn group(device_id: i64, times: &[i64]) -> Group<Batch> {
        let mut columns = Columns::default();
        for fixed_at_millis in times {
            columns.push(fix(*fixed_at_millis));
        }
        Group::new(vec![Member { tenant_id: 1, device_id, batch: Batch { columns, ..Batch::default() } }])
    }

    #[test]
    fn the_last_batch_of_a_device_is_known_in_order() {
        let mut recent = Recent::new(100);
        recent.remember(&group(1, &[3, 1, 2]));
        assert_eq!(recent.times(1, 1), [1, 2, 3]);
        recent.remember(&group(1, &[5, 4]));
        assert_eq!(recent.times(1, 1), [4, 5]);
        assert!(recent.times(2, 1).is_empty());
    }

    #[test]
    fn a_copy_knows_the_devices_of_its_group_and_forgets_nothing() {
        let mut recent = Recent::new(100);
        recent.remember(&group(1, &[1, 2]));
        recent.remember(&group(2, &[3]));
        let copy = recent.only(&group(2, &[9]));
        recent.forget();
        assert_eq!((copy.times(1, 1), copy.times(1, 2)), ([].as_slice(), [3].as_slice()));
    }

    #[test]
    fn what_does_not_fit_begins_anew() {
        let mut recent = Recent::new(4);
        recent.remember(&group(1, &[1, 2]));
        recent.remember(&group(2, &[1, 2]));
        recent.remember(&group(1, &[3, 4]));
        assert_eq!((recent.times(1, 1), recent.times(1, 2)), ([3, 4].as_slice(), [].as_slice()));
        recent.remember(&group(2, &[5]));
        assert_eq!((recent.times(1, 1), recent.times(1, 2)), ([3, 4].as_slice(), [5].as_slice()));
    }
}
