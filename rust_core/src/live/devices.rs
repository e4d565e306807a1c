//! The devices of a tenant: where they are, what they do, and at which ticks that changed.

use crate::area::Grid;
use crate::filter::{Status, StatusRule};
use crate::fix::Fix;
use crate::frame::{Left, Name, Row};

/// In the order the devices became known, which is the order in every frame. A device's place never changes.
#[derive(Debug, Default)]
pub(super) struct Devices {
    pub(super) slots: Vec<Slot>,
    /// Parallel to `slots`: the tick that announced the last movement, 0 before the first.
    pub(super) moved_seq: Vec<u64>,
    /// Parallel to `slots`: the tick that announced the last movement or change of status. Every view looks through
    /// these at every tick, and slots are large.
    pub(super) changed_seq: Vec<u64>,
}

/// A device. It is shown when it has a name and a fix: the fix may arrive first.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) device_id: i64,
    pub(super) name: Option<Name>,
    /// The newest fix that a tick announced, or that was loaded.
    pub(super) fix: Option<Fix>,
    /// A newer one, to be announced.
    pub(super) pending: Option<Fix>,
    pub(super) is_touched: bool,
    /// Kept up to date while somebody watches a status.
    pub(super) status: Status,
    /// The tick at which watchers could see it first.
    pub(super) shown_seq: u64,
}

impl Devices {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Whether the tick announced a movement or a change of status.
    pub(super) fn has_changed(&self, place: u32, seq: u64) -> bool {
        self.changed_seq.get(place as usize) == Some(&seq)
    }

    pub(super) fn has_moved(&self, place: u32, seq: u64) -> bool {
        self.moved_seq.get(place as usize) == Some(&seq)
    }

    /// What filters look at; `None` for a device that is not shown.
    pub(super) fn shown(&self, place: u32) -> Option<(&Fix, Status)> {
        let slot = self.slots.get(place as usize).filter(|slot| slot.name.is_some())?;
        Some((slot.fix.as_ref()?, slot.status))
    }

    pub(super) fn row(&self, place: u32, is_new: bool) -> Option<Row<'_>> {
        let slot = self.slots.get(place as usize)?;
        Some(Row { device_id: slot.device_id, name: slot.name.as_ref()?, fix: slot.fix.as_ref()?, is_new })
    }

    pub(super) fn left(&self, place: u32) -> Option<Left<'_>> {
        let slot = self.slots.get(place as usize)?;
        Some(Left { device_id: slot.device_id, name: slot.name.as_ref()? })
    }

    /// Everybody who moved after `since_seq`, or everybody.
    pub(super) fn rows(&self, since_seq: Option<u64>) -> impl Iterator<Item = Row<'_>> {
        let told = self.moved_seq.iter().zip(&self.slots);
        told.filter_map(move |(moved_seq, slot)| {
            if since_seq.is_some_and(|since| *moved_seq <= since) {
                return None;
            }
            let is_new = since_seq.is_none_or(|since| slot.shown_seq > since);
            Some(Row { device_id: slot.device_id, name: slot.name.as_ref()?, fix: slot.fix.as_ref()?, is_new })
        })
    }

    pub(super) fn grid(&self) -> Grid {
        let mut grid = Grid::default();
        for (place, slot) in (0..).zip(&self.slots) {
            if let Some(fix) = &slot.fix {
                grid.insert(place, fix.lat_e7, fix.lon_e7);
            }
        }
        grid
    }
}

impl Slot {
    pub(super) fn new(device_id: i64) -> Self {
        Self {
            device_id,
            name: None,
            fix: None,
            pending: None,
            is_touched: false,
            status: Status::default(),
            shown_seq: 0,
        }
    }

    pub(super) fn newest(&self) -> Option<&Fix> {
        self.pending.as_ref().or(self.fix.as_ref())
    }

    pub(super) fn is_shown(&self) -> bool {
        self.name.is_some() && self.newest().is_some()
    }

    pub(super) fn is_behind(&self, fix: &Fix) -> bool {
        self.newest().is_none_or(|known| known.fixed_at_millis < fix.fixed_at_millis)
    }

    /// Finds the status anew; true if it changed.
    pub(super) fn restate(&mut self, rule: StatusRule, now_millis: i64) -> bool {
        let Some(fix) = &self.fix else { return false };
        let status = rule.status(fix, now_millis);
        std::mem::replace(&mut self.status, status) != status
    }

    /// When its fix becomes too old; `None` if it is already, or there is none.
    pub(super) fn offline_millis(&self, rule: StatusRule) -> Option<i64> {
        let fix = self.fix.as_ref().filter(|_| self.status != Status::Offline)?;
        Some(fix.fixed_at_millis.saturating_add(rule.offline_millis))
    }
}
