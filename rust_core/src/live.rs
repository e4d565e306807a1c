//! The newest fix of every device, and since when watchers know it.
//!
//! A tick is the rhythm in which watchers are told. Each position carries the sequence number of the tick that announced
//! its last movement, so "what moved after `since_seq`" is a scan of numbers: a watcher that fell behind, or comes back,
//! gets the newest position of what it missed, and no backlog is kept for anyone.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::fix::Fix;
use crate::frame;

/// Frames kept per tenant until its next movement: watchers in step share one, the rest are stragglers.
const CACHED_FRAMES: usize = 8;

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The company.
    pub tenant_id: i32,
    /// What sent the fix.
    pub device_id: i64,
    /// Its newest fix.
    pub fix: Fix,
}

/// Positions of all tenants.
#[derive(Debug, Default)]
pub struct LiveTable {
    tenants: FxHashMap<i32, Tenant>,
    /// Tenants with movement since the last tick, each once.
    touched: Vec<i32>,
    /// Devices that a snapshot would show.
    shown: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    seq: u64,
    /// In the order the devices became known, which is the order in every frame.
    slots: Vec<Slot>,
    /// Parallel to `slots`: the tick that announced the last movement, 0 before the first.
    moved_seq: Vec<u64>,
    slot_of_device: FxHashMap<i64, usize>,
    /// Slots moved since the last tick, each once.
    touched: Vec<usize>,
    /// (`since_seq`, frame), all of the present `seq`.
    frames: Vec<(u64, Arc<[u8]>)>,
}

/// A device. It is shown when it has both members: a fix may arrive before the name does.
#[derive(Debug, Default)]
struct Slot {
    /// The device's name as JSON text, quoted and escaped once.
    name: Option<Box<[u8]>>,
    fix: Option<Fix>,
    touched: bool,
}

impl LiveTable {
    /// Makes a device known under its name, with its stored position if it has one.
    ///
    /// Not a movement, unless the device moved further while its name was not known: watchers have yet to see that.
    pub fn load(&mut self, tenant_id: i32, device_id: i64, name: &str, stored: Option<Fix>) {
        let tenant = self.tenants.entry(tenant_id).or_default();
        let place = tenant.place(device_id);
        let Some(slot) = tenant.slots.get_mut(place) else { return };
        let was_shown = slot.shown().is_some();
        let unseen = slot.name.is_none() && slot.fix.is_some() && !stored.is_some_and(|fix| slot.is_behind(&fix));
        slot.name = Some(frame::quoted(name).into_boxed_slice());
        if let Some(fix) = stored.filter(|fix| slot.is_behind(fix)) {
            slot.fix = Some(fix);
        }
        self.shown += usize::from(!was_shown && slot.shown().is_some());
        tenant.frames.clear();
        if unseen && tenant.touch(place) {
            self.touched.push(tenant_id);
        }
    }

    /// Moves positions forward and returns how many moved. The order of calls does not matter: the newest fix stays.
    pub fn advance(&mut self, positions: &[Position]) -> usize {
        let mut moved = 0;
        for position in positions {
            let tenant = self.tenants.entry(position.tenant_id).or_default();
            let place = tenant.place(position.device_id);
            let Some(slot) = tenant.slots.get_mut(place) else { continue };
            if !slot.is_behind(&position.fix) {
                continue;
            }
            let was_shown = slot.shown().is_some();
            slot.fix = Some(position.fix);
            moved += 1;
            if slot.name.is_none() {
                continue;
            }
            self.shown += usize::from(!was_shown);
            if tenant.touch(place) {
                self.touched.push(position.tenant_id);
            }
        }
        moved
    }

    /// Closes the tick. Returns the tenants with movement since the last one, ascending; the `seq` of each went up by one.
    pub fn tick(&mut self) -> Vec<i32> {
        let mut moved = std::mem::take(&mut self.touched);
        moved.sort_unstable();
        for tenant_id in &moved {
            if let Some(tenant) = self.tenants.get_mut(tenant_id) {
                tenant.close_tick();
            }
        }
        moved
    }

    /// Sequence number of the tenant's last movement, 0 before the first.
    pub fn seq(&self, tenant_id: i32) -> u64 {
        self.tenants.get(&tenant_id).map_or(0, |tenant| tenant.seq)
    }

    /// A `snapshot` frame. What moved since the last tick is in it, and in the next `moved` frame again.
    pub fn snapshot(&self, tenant_id: i32, epoch: &str) -> Vec<u8> {
        frame::snapshot(epoch, self.seq(tenant_id), self.positions(tenant_id))
    }

    /// A `GeoJSON` `FeatureCollection` of the tenant's positions.
    pub fn geojson(&self, tenant_id: i32) -> Vec<u8> {
        frame::geojson(self.positions(tenant_id))
    }

    /// The `moved` frame for watchers at `since_seq` if it is rendered already.
    pub fn cached_moved(&self, tenant_id: i32, since_seq: u64) -> Option<Arc<[u8]>> {
        let tenant = self.tenants.get(&tenant_id)?;
        tenant.frames.iter().find(|(since, _)| *since == since_seq).map(|(_, frame)| Arc::clone(frame))
    }

    /// A `moved` frame of every device announced after `since_seq`, or `None`. The same bytes until the next tick.
    pub fn moved(&mut self, tenant_id: i32, since_seq: u64) -> Option<Arc<[u8]>> {
        if let Some(frame) = self.cached_moved(tenant_id, since_seq) {
            return Some(frame);
        }
        let tenant = self.tenants.get_mut(&tenant_id)?;
        if since_seq >= tenant.seq {
            return None;
        }
        let behind = tenant.slots.iter().zip(&tenant.moved_seq).filter(|(_, moved_seq)| **moved_seq > since_seq);
        let frame: Arc<[u8]> = frame::moved(tenant.seq, behind.filter_map(|(slot, _)| slot.shown())).into();
        if tenant.frames.len() < CACHED_FRAMES {
            tenant.frames.push((since_seq, Arc::clone(&frame)));
        }
        Some(frame)
    }

    /// Number of devices with a position, of all tenants.
    pub fn len(&self) -> usize {
        self.shown
    }

    /// Whether no device has a position.
    pub fn is_empty(&self) -> bool {
        self.shown == 0
    }

    fn positions(&self, tenant_id: i32) -> impl Iterator<Item = (&[u8], &Fix)> {
        self.tenants.get(&tenant_id).into_iter().flat_map(|tenant| tenant.slots.iter().filter_map(Slot::shown))
    }
}

impl Tenant {
    fn place(&mut self, device_id: i64) -> usize {
        *self.slot_of_device.entry(device_id).or_insert_with(|| {
            self.slots.push(Slot::default());
            self.moved_seq.push(0);
            self.slots.len() - 1
        })
    }

    /// Notes a movement; true if it is the tenant's first since the last tick.
    fn touch(&mut self, place: usize) -> bool {
        let Some(slot) = self.slots.get_mut(place) else { return false };
        if slot.touched {
            return false;
        }
        slot.touched = true;
        self.touched.push(place);
        self.touched.len() == 1
    }

    fn close_tick(&mut self) {
        self.seq += 1;
        self.frames.clear();
        for place in self.touched.drain(..) {
            if let (Some(slot), Some(moved_seq)) = (self.slots.get_mut(place), self.moved_seq.get_mut(place)) {
                slot.touched = false;
                *moved_seq = self.seq;
            }
        }
    }
}

impl Slot {
    fn shown(&self) -> Option<(&[u8], &Fix)> {
        Some((self.name.as_deref()?, self.fix.as_ref()?))
    }

    fn is_behind(&self, fix: &Fix) -> bool {
        self.fix.is_none_or(|known| known.fixed_at_millis < fix.fixed_at_millis)
    }
}
