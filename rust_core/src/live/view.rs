//! Who a filter shows, and since when: what watchers of the same filter share.
//!
//! A view is brought up to each tick when the tick closes. For every device that it shows it knows the tick of its last
//! change, and for every device that went away the tick when it went, so that a watcher at any earlier tick gets
//! exactly what differs. Those that went are forgotten after some hundred ticks; a watcher from before that begins anew.

use std::collections::{BTreeMap, BTreeSet};

use super::devices::Devices;
use crate::area::Grid;
use crate::filter::Filter;
use crate::frame::{Left, Row};

/// Ticks for which a view remembers who went away: two minutes at the usual pace, longer than any client waits between
/// two attempts to connect.
const REMEMBERED_TICKS: u64 = 512;
/// Ticks between two rounds of forgetting.
const FORGETTING_TICKS: u64 = 64;

#[derive(Debug)]
pub(super) struct View {
    pub(super) filter: Filter,
    /// Watchers now; a view without any is kept for those who come back.
    pub(super) watchers: usize,
    /// When the last watcher left.
    pub(super) idle_since_seq: u64,
    /// Places of the devices that are named or grouped; `None` where the filter does not choose.
    choice: Option<BTreeSet<u32>>,
    /// Whether the choice changed since the last tick.
    is_rechosen: bool,
    entries: BTreeMap<u32, Entry>,
    /// Since this tick the view can say what differs.
    exact_from_seq: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The tick of its last movement, or of its coming or going.
    changed_seq: u64,
    /// The tick of its last coming.
    entered_seq: u64,
    is_inside: bool,
}

impl View {
    /// A view that shows the tenant as it is at `seq`.
    pub(super) fn new(filter: Filter, choice: Option<BTreeSet<u32>>, devices: &Devices, seq: u64) -> Self {
        let mut view = Self {
            filter,
            watchers: 0,
            idle_since_seq: seq,
            choice,
            is_rechosen: true,
            entries: BTreeMap::new(),
            exact_from_seq: seq,
        };
        view.close_tick(devices, &[], None, seq);
        view
    }

    /// Chooses other devices, from the next tick on.
    pub(super) fn choose(&mut self, choice: BTreeSet<u32>) {
        self.choice = Some(choice);
        self.is_rechosen = true;
    }

    /// Brings the view up to `seq`, at which `changed` moved or changed their status.
    pub(super) fn close_tick(&mut self, devices: &Devices, changed: &[u32], grid: Option<&Grid>, seq: u64) {
        for place in self.candidates(devices, changed, grid, seq) {
            self.visit(place, devices, seq);
        }
        self.is_rechosen = false;
        if seq.is_multiple_of(FORGETTING_TICKS) {
            self.forget(seq);
        }
    }

    /// The places that may have to be told of: the shortest of the lists that certainly hold them all.
    fn candidates(&self, devices: &Devices, changed: &[u32], grid: Option<&Grid>, seq: u64) -> Vec<u32> {
        if self.is_rechosen {
            let chosen = self.choice.as_ref().map_or_else(|| (0..devices.len()).collect(), BTreeSet::clone);
            return chosen.into_iter().chain(self.entries.keys().copied()).collect();
        }
        let has_changed = |place: &u32| devices.has_changed(*place, seq);
        if let Some(choice) = self.choice.as_ref().filter(|choice| choice.len() < changed.len()) {
            return choice.iter().copied().filter(has_changed).collect();
        }
        if let (Some(area), Some(grid)) = (&self.filter.area, grid)
            && Grid::cells_of(area) + (self.entries.len() as u64) < changed.len() as u64
        {
            let mut found: Vec<u32> = self.entries.keys().copied().filter(has_changed).collect();
            grid.search(area, |place| found.extend(Some(place).filter(has_changed)));
            return found;
        }
        changed.to_vec()
    }

    fn visit(&mut self, place: u32, devices: &Devices, seq: u64) {
        let is_inside = self.shows(place, devices);
        let fresh = Entry { changed_seq: seq, entered_seq: seq, is_inside: true };
        let has_moved = devices.has_moved(place, seq);
        match self.entries.get_mut(&place) {
            Some(entry) if entry.is_inside && !is_inside => {
                *entry = Entry { changed_seq: seq, is_inside: false, ..*entry };
            }
            Some(entry) if !entry.is_inside && is_inside => *entry = fresh,
            Some(entry) if is_inside && has_moved => entry.changed_seq = seq,
            None if is_inside => {
                self.entries.insert(place, fresh);
            }
            _ => (),
        }
    }

    fn shows(&self, place: u32, devices: &Devices) -> bool {
        let Some((fix, status)) = devices.shown(place) else { return false };
        self.choice.as_ref().is_none_or(|choice| choice.contains(&place))
            && self.filter.statuses.is_none_or(|statuses| statuses.contains(status))
            && self.filter.area.is_none_or(|area| area.contains(fix.lat_e7, fix.lon_e7))
    }

    fn forget(&mut self, seq: u64) {
        let Some(oldest_seq) = seq.checked_sub(REMEMBERED_TICKS) else { return };
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.is_inside || entry.changed_seq > oldest_seq);
        if self.entries.len() < before {
            self.exact_from_seq = self.exact_from_seq.max(oldest_seq);
        }
    }

    /// Whether the view knows all that differs since a tick.
    pub(super) fn is_exact(&self, since_seq: u64) -> bool {
        since_seq >= self.exact_from_seq
    }

    /// Whether nobody has come back for so long that nobody can any more.
    pub(super) fn is_abandoned(&self, seq: u64) -> bool {
        self.watchers == 0 && self.idle_since_seq + REMEMBERED_TICKS < seq
    }

    /// The devices that moved or came after `since_seq`, or all that are shown.
    pub(super) fn rows<'a>(&'a self, devices: &'a Devices, since_seq: Option<u64>) -> impl Iterator<Item = Row<'a>> {
        self.entries.iter().filter_map(move |(place, entry)| {
            let is_told = entry.is_inside && since_seq.is_none_or(|since| entry.changed_seq > since);
            let is_new = since_seq.is_none_or(|since| entry.entered_seq > since);
            if is_told { devices.row(*place, is_new) } else { None }
        })
    }

    /// The devices that went away after `since_seq`. Some of them the watcher may not have seen come.
    pub(super) fn left<'a>(&'a self, devices: &'a Devices, since_seq: u64) -> impl Iterator<Item = Left<'a>> {
        self.entries.iter().filter_map(move |(place, entry)| {
            if !entry.is_inside && entry.changed_seq > since_seq { devices.left(*place) } else { None }
        })
    }
}
