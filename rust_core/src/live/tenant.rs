//! A tenant: its ticks, and the views that a tick brings up to date.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::{FxHashMap, FxHashSet};

use super::devices::{Devices, Slot};
use super::view::View;
use crate::area::Grid;
use crate::filter::{Filter, StatusRule};
use crate::fix::Fix;
use crate::frame::{Format, Head, Name, render};

/// Views without a watcher that are kept per tenant, for those who come back.
const IDLE_VIEWS: usize = 64;

/// What the watchers of a filter share; unique among all tenants' and never used again.
pub type ViewId = u64;
/// The view without a filter. It is always there.
pub const WHOLE: ViewId = 0;

#[derive(Debug, Default)]
pub(super) struct Tenant {
    seq: u64,
    devices: Devices,
    place_of_device: FxHashMap<i64, u32>,
    /// Places with a movement since the last tick, each once.
    touched: Vec<u32>,
    /// Whether a view must be looked at in the next tick although nothing may have moved.
    is_rechosen: bool,
    views: BTreeMap<ViewId, View>,
    groups: FxHashMap<Box<str>, FxHashSet<i64>>,
    /// Where everybody stands, while somebody watches an area.
    grid: Option<Grid>,
    /// While somebody watches a status: the next time at which a fix becomes too old.
    next_offline_millis: Option<i64>,
}

impl Tenant {
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether a tick would say anything but time.
    pub(super) fn is_pending(&self) -> bool {
        self.is_rechosen || !self.touched.is_empty()
    }

    /// Whether statuses must be looked at as time goes by.
    pub(super) fn is_timed(&self) -> bool {
        self.next_offline_millis.is_some()
    }

    /// Makes a device known. True if it is shown now and was not before.
    pub(super) fn load(&mut self, device_id: i64, name: &str, stored: Option<Fix>) -> bool {
        let place = self.place(device_id);
        let Some(slot) = self.devices.slots.get_mut(place as usize) else { return false };
        let was_shown = slot.is_shown();
        let was_named = slot.name.replace(Name::new(name)).is_some();
        if let Some(fix) = stored.filter(|fix| slot.is_behind(fix)) {
            // Nobody watches before the first tick, and there is nobody to tell.
            if self.seq == 0 && self.views.is_empty() {
                slot.fix = Some(fix);
                slot.pending = None;
            } else {
                slot.pending = Some(fix);
            }
        }
        let (is_shown, is_pending) = (slot.is_shown(), slot.pending.is_some());
        if is_pending {
            self.touch(place);
        }
        if !was_named {
            self.choose_named(place, name);
        }
        is_shown && !was_shown
    }

    /// Moves a position forward. `None` if it is not newer, else whether the device is shown now and was not before.
    pub(super) fn advance(&mut self, device_id: i64, fix: Fix) -> Option<bool> {
        let place = self.place(device_id);
        let slot = self.devices.slots.get_mut(place as usize)?;
        if !slot.is_behind(&fix) {
            return None;
        }
        let was_shown = slot.is_shown();
        slot.pending = Some(fix);
        if slot.name.is_none() {
            return Some(false);
        }
        self.touch(place);
        Some(!was_shown)
    }

    pub(super) fn newest_millis(&self, device_id: i64) -> Option<i64> {
        let place = *self.place_of_device.get(&device_id)?;
        Some(self.devices.slots.get(place as usize)?.newest()?.fixed_at_millis)
    }

    fn place(&mut self, device_id: i64) -> u32 {
        let devices = &mut self.devices;
        *self.place_of_device.entry(device_id).or_insert_with(|| {
            let place = devices.len();
            devices.slots.push(Slot::new(device_id));
            devices.moved_seq.push(0);
            devices.changed_seq.push(0);
            place
        })
    }

    fn touch(&mut self, place: u32) {
        if let Some(slot) = self.devices.slots.get_mut(place as usize)
            && !std::mem::replace(&mut slot.is_touched, true)
        {
            self.touched.push(place);
        }
    }

    /// Closes the tick if there is anything to announce. True if there was.
    pub(super) fn close_tick(&mut self, rule: StatusRule, now_millis: i64) -> bool {
        let is_late = self.next_offline_millis.is_some_and(|millis| millis < now_millis);
        if !self.is_pending() && !is_late {
            return false;
        }
        let seq = self.seq + 1;
        let mut changed = std::mem::take(&mut self.touched);
        for place in &changed {
            self.announce(*place, seq);
        }
        if self.next_offline_millis.is_some() {
            let restated = self.restate(&changed, rule, now_millis, seq, is_late);
            changed.extend(restated);
        }
        if changed.is_empty() && !self.is_rechosen {
            return false;
        }
        self.seq = seq;
        self.is_rechosen = false;
        changed.sort_unstable();
        for view in self.views.values_mut() {
            view.close_tick(&self.devices, &changed, self.grid.as_ref(), seq);
        }
        if self.views.values().any(|view| view.is_abandoned(seq)) {
            self.views.retain(|_, view| !view.is_abandoned(seq));
            self.let_go();
        }
        changed.clear();
        self.touched = changed;
        true
    }

    fn announce(&mut self, place: u32, seq: u64) {
        let Some(slot) = self.devices.slots.get_mut(place as usize) else { return };
        slot.is_touched = false;
        for seqs in [&mut self.devices.moved_seq, &mut self.devices.changed_seq] {
            if let Some(last) = seqs.get_mut(place as usize) {
                *last = seq;
            }
        }
        let Some(fix) = slot.pending.take() else { return };
        let old = slot.fix.replace(fix);
        if slot.shown_seq == 0 {
            slot.shown_seq = seq;
        }
        if let Some(grid) = &mut self.grid {
            let to = (fix.lat_e7, fix.lon_e7);
            match old {
                Some(old) => grid.shift(place, (old.lat_e7, old.lon_e7), to),
                None => grid.insert(place, to.0, to.1),
            }
        }
    }

    /// Finds the statuses anew: of `moved`, and of everybody when a fix became too old. Returns those that changed it
    /// without having moved.
    fn restate(&mut self, moved: &[u32], rule: StatusRule, now_millis: i64, seq: u64, everybody: bool) -> Vec<u32> {
        for place in moved {
            if let Some(slot) = self.devices.slots.get_mut(*place as usize) {
                slot.restate(rule, now_millis);
                if let Some(millis) = slot.offline_millis(rule) {
                    self.next_offline_millis = self.next_offline_millis.map(|next| next.min(millis));
                }
            }
        }
        if !everybody {
            return Vec::new();
        }
        let mut restated = Vec::new();
        let mut next_offline_millis = i64::MAX;
        for ((place, slot), changed_seq) in (0..).zip(&mut self.devices.slots).zip(&mut self.devices.changed_seq) {
            // Who has moved at this tick was looked at above.
            if slot.restate(rule, now_millis) && *changed_seq != seq {
                *changed_seq = seq;
                restated.push(place);
            }
            next_offline_millis = next_offline_millis.min(slot.offline_millis(rule).unwrap_or(i64::MAX));
        }
        self.next_offline_millis = Some(next_offline_millis);
        restated
    }

    /// The view of a filter, with one watcher more; `fresh` is its number if there is none yet.
    pub(super) fn watch(&mut self, filter: Filter, fresh: ViewId, rule: StatusRule, now_millis: i64) -> ViewId {
        if filter.is_whole() {
            return WHOLE;
        }
        if let Some((id, view)) = self.views.iter_mut().find(|(_, view)| view.filter == filter) {
            view.watchers += 1;
            return *id;
        }
        if filter.area.is_some() && self.grid.is_none() {
            self.grid = Some(self.devices.grid());
        }
        if filter.statuses.is_some() && self.next_offline_millis.is_none() {
            // Nobody has seen a status of before, so that none changes at this tick.
            self.restate(&[], rule, now_millis, self.seq, true);
        }
        let choice = filter.is_choice().then(|| self.chosen(&filter));
        let mut view = View::new(filter, choice, &self.devices, self.seq);
        view.watchers = 1;
        self.views.insert(fresh, view);
        fresh
    }

    /// One watcher less.
    pub(super) fn release(&mut self, id: ViewId) {
        let Some(view) = self.views.get_mut(&id) else { return };
        view.watchers = view.watchers.saturating_sub(1);
        view.idle_since_seq = self.seq;
        let idle = self.views.iter().filter(|(_, view)| view.watchers == 0);
        let (count, oldest) = (idle.clone().count(), idle.min_by_key(|(id, view)| (view.idle_since_seq, **id)));
        if let Some((id, _)) = oldest.filter(|_| count > IDLE_VIEWS) {
            let id = *id;
            self.views.remove(&id);
            self.let_go();
        }
    }

    /// Lets go of what no view needs any more.
    fn let_go(&mut self) {
        if !self.views.values().any(|view| view.filter.area.is_some()) {
            self.grid = None;
        }
        if !self.views.values().any(|view| view.filter.statuses.is_some()) {
            self.next_offline_millis = None;
        }
    }

    /// Says which devices belong to a group, from the next tick on. None ends it.
    pub(super) fn set_group(&mut self, name: &str, device_ids: FxHashSet<i64>) {
        if device_ids.is_empty() {
            self.groups.remove(name);
        } else {
            self.groups.insert(name.into(), device_ids);
        }
        let concerned = |view: &View| view.filter.groups.as_ref().is_some_and(|groups| groups.contains(name));
        let ids: Vec<ViewId> = self.views.iter().filter(|(_, view)| concerned(view)).map(|(id, _)| *id).collect();
        for id in ids {
            self.rechoose(id);
        }
    }

    /// A device got its name: views may have waited for it.
    fn choose_named(&mut self, place: u32, name: &str) {
        let device_id = self.devices.slots.get(place as usize).map(|slot| slot.device_id);
        let is_grouped = |group: &str| {
            self.groups.get(group).zip(device_id).is_some_and(|(members, device_id)| members.contains(&device_id))
        };
        let waits = |view: &View| {
            view.filter.devices.as_ref().is_some_and(|names| names.contains(name))
                || view.filter.groups.as_ref().is_some_and(|groups| groups.iter().any(|group| is_grouped(group)))
        };
        let ids: Vec<ViewId> = self.views.iter().filter(|(_, view)| waits(view)).map(|(id, _)| *id).collect();
        for id in ids {
            self.rechoose(id);
        }
    }

    fn rechoose(&mut self, id: ViewId) {
        let Some(choice) = self.views.get(&id).map(|view| self.chosen(&view.filter)) else { return };
        if let Some(view) = self.views.get_mut(&id) {
            view.choose(choice);
            self.is_rechosen = true;
        }
    }

    fn chosen(&self, filter: &Filter) -> BTreeSet<u32> {
        let grouped: Option<FxHashSet<i64>> = filter.groups.as_ref().map(|groups| {
            groups.iter().filter_map(|group| self.groups.get(group)).flat_map(FxHashSet::iter).copied().collect()
        });
        let is_chosen = |slot: &Slot| {
            let name = slot.name.as_ref().map_or("", Name::as_str);
            filter.devices.as_ref().is_none_or(|names| names.contains(name))
                && grouped.as_ref().is_none_or(|members| members.contains(&slot.device_id))
        };
        (0..).zip(&self.devices.slots).filter(|(_, slot)| is_chosen(slot)).map(|(place, _)| place).collect()
    }

    /// Whether the tenant knows all that differs since a tick.
    pub(super) fn is_exact(&self, id: ViewId, since_seq: u64) -> bool {
        let can_say = id == WHOLE || self.views.get(&id).is_some_and(|view| view.is_exact(since_seq));
        can_say && since_seq <= self.seq
    }

    pub(super) fn snapshot(&self, id: ViewId, format: Format, epoch: &str) -> Vec<Vec<u8>> {
        let head = Head::Snapshot { epoch, seq: self.seq };
        match self.views.get(&id) {
            Some(view) => render(format, head, view.rows(&self.devices, None), std::iter::empty()),
            None => render(format, head, self.devices.rows(None), std::iter::empty()),
        }
    }

    pub(super) fn moved(&self, id: ViewId, format: Format, since_seq: u64) -> Vec<Vec<u8>> {
        let head = Head::Moved { seq: self.seq };
        let devices = &self.devices;
        match self.views.get(&id) {
            Some(view) => render(format, head, view.rows(devices, Some(since_seq)), view.left(devices, since_seq)),
            None => render(format, head, devices.rows(Some(since_seq)), std::iter::empty()),
        }
    }

    /// Every device: number, name, and the time of its newest fix.
    pub(super) fn devices(&self) -> impl Iterator<Item = (i64, Option<String>, Option<i64>)> {
        self.devices.slots.iter().map(|slot| {
            let name = slot.name.as_ref().map(|name| name.as_str().to_owned());
            (slot.device_id, name, slot.newest().map(|fix| fix.fixed_at_millis))
        })
    }

    /// The names of the groups that have devices.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(AsRef::as_ref)
    }

    /// Every position, announced or not.
    pub(super) fn positions(&self) -> impl Iterator<Item = (&Name, &Fix)> {
        self.devices.slots.iter().filter_map(|slot| Some((slot.name.as_ref()?, slot.newest()?)))
    }
}
