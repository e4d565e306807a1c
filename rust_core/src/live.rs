//! The newest fix of every device, and since when watchers know it.
//!
//! A tick is the rhythm in which watchers are told. Each position carries the sequence number of the tick that announced
//! its last movement, so "what moved after `since_seq`" is a scan of numbers: a watcher that fell behind, or comes back,
//! gets the newest position of what it missed, and no backlog is kept for anyone. Watchers of a part of the fleet share
//! a view, which has such numbers for its devices. A frame shows the tenant as it was at the tick of its `seq`.

mod devices;
mod tenant;
mod view;

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use tenant::Tenant;
pub use tenant::{ViewId, WHOLE};

use crate::filter::{Filter, StatusRule};
use crate::fix::Fix;
use crate::frame::{self, Format};

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
#[derive(Debug)]
pub struct LiveTable {
    rule: StatusRule,
    tenants: FxHashMap<i32, Tenant>,
    /// Tenants whose watchers are to be told of something at the next tick.
    touched: BTreeSet<i32>,
    /// Tenants whose statuses change as time goes by.
    timed: BTreeSet<i32>,
    /// Devices that a snapshot would show.
    shown: usize,
    last_view: ViewId,
}

impl LiveTable {
    /// An empty table.
    pub fn new(rule: StatusRule) -> Self {
        Self {
            rule,
            tenants: FxHashMap::default(),
            touched: BTreeSet::new(),
            timed: BTreeSet::new(),
            shown: 0,
            last_view: WHOLE,
        }
    }

    /// Makes a device known under its name, with its stored position if it has one.
    ///
    /// Before the first tick that is not a movement, unless the device moved while its name was not known.
    pub fn load(&mut self, tenant_id: i32, device_id: i64, name: &str, stored: Option<Fix>) {
        let tenant = self.tenants.entry(tenant_id).or_default();
        self.shown += usize::from(tenant.load(device_id, name, stored));
        if tenant.is_pending() {
            self.touched.insert(tenant_id);
        }
    }

    /// Moves positions forward and returns how many moved. The order of calls does not matter: the newest fix stays.
    pub fn advance(&mut self, positions: &[Position]) -> usize {
        let mut moved = 0;
        for position in positions {
            let tenant = self.tenants.entry(position.tenant_id).or_default();
            let was_pending = tenant.is_pending();
            let Some(is_first) = tenant.advance(position.device_id, position.fix) else { continue };
            moved += 1;
            self.shown += usize::from(is_first);
            if !was_pending && tenant.is_pending() {
                self.touched.insert(position.tenant_id);
            }
        }
        moved
    }

    /// Time of a device's newest fix, as far as it is known here.
    pub fn newest_millis(&self, tenant_id: i32, device_id: i64) -> Option<i64> {
        self.tenants.get(&tenant_id)?.newest_millis(device_id)
    }

    /// Closes the tick. Returns the tenants whose `seq` went up since the last call, ascending.
    pub fn tick(&mut self, now_millis: i64) -> Vec<i32> {
        let mut told = std::mem::take(&mut self.touched);
        for tenant_id in &told {
            if let Some(tenant) = self.tenants.get_mut(tenant_id) {
                tenant.close_tick(self.rule, now_millis);
            }
        }
        for tenant_id in &self.timed {
            if let Some(tenant) = self.tenants.get_mut(tenant_id)
                && tenant.close_tick(self.rule, now_millis)
            {
                told.insert(*tenant_id);
            }
        }
        self.timed.retain(|tenant_id| self.tenants.get(tenant_id).is_some_and(Tenant::is_timed));
        told.into_iter().collect()
    }

    /// Sequence number of the tenant's last tick, 0 before the first.
    pub fn seq(&self, tenant_id: i32) -> u64 {
        self.tenants.get(&tenant_id).map_or(0, Tenant::seq)
    }

    /// Closes the tenant's tick if it has anything to say and returns its `seq`; its watchers are told at the next `tick`.
    pub fn settle(&mut self, tenant_id: i32, now_millis: i64) -> u64 {
        let Some(tenant) = self.tenants.get_mut(&tenant_id) else { return 0 };
        if tenant.close_tick(self.rule, now_millis) {
            self.touched.insert(tenant_id);
        }
        tenant.seq()
    }

    /// The view of a filter, with one watcher more. To be given back by `release`.
    ///
    /// Closes the tenant's tick, as `settle` does.
    pub fn watch(&mut self, tenant_id: i32, filter: Filter, now_millis: i64) -> ViewId {
        self.settle(tenant_id, now_millis);
        let fresh = self.last_view + 1;
        let tenant = self.tenants.entry(tenant_id).or_default();
        let view = tenant.watch(filter, fresh, self.rule, now_millis);
        self.last_view = self.last_view.max(view);
        if tenant.is_timed() {
            self.timed.insert(tenant_id);
        }
        view
    }

    /// One watcher of a view less.
    pub fn release(&mut self, tenant_id: i32, view: ViewId) {
        if let Some(tenant) = self.tenants.get_mut(&tenant_id) {
            tenant.release(view);
        }
    }

    /// Says which devices belong to a group, from the next tick on. None ends it.
    pub fn set_group(&mut self, tenant_id: i32, name: &str, device_ids: &[i64]) {
        let tenant = self.tenants.entry(tenant_id).or_default();
        tenant.set_group(name, device_ids.iter().copied().collect());
        if tenant.is_pending() {
            self.touched.insert(tenant_id);
        }
    }

    /// Forgets a tenant: its devices, its views and what they were told. It begins again at `seq` 0.
    pub fn forget(&mut self, tenant_id: i32) {
        self.touched.remove(&tenant_id);
        self.timed.remove(&tenant_id);
        if let Some(tenant) = self.tenants.remove(&tenant_id) {
            self.shown -= tenant.positions().count();
        }
    }

    /// Every device that is known: tenant, number, name, and the time of its newest fix.
    pub fn devices(&self) -> Vec<(i32, i64, Option<String>, Option<i64>)> {
        let of_tenant = |(tenant_id, tenant): (&i32, &Tenant)| {
            let tenant_id = *tenant_id;
            tenant
                .devices()
                .map(move |(device_id, name, millis)| (tenant_id, device_id, name, millis))
                .collect::<Vec<_>>()
        };
        self.tenants.iter().flat_map(of_tenant).collect()
    }

    /// Every group that has devices: tenant and name.
    pub fn groups(&self) -> Vec<(i32, String)> {
        let of_tenant = |(tenant_id, tenant): (&i32, &Tenant)| {
            let tenant_id = *tenant_id;
            tenant.groups().map(move |name| (tenant_id, name.to_owned())).collect::<Vec<_>>()
        };
        self.tenants.iter().flat_map(of_tenant).collect()
    }

    /// The tenants that anything is known of, in no order.
    pub fn tenants(&self) -> Vec<i32> {
        self.tenants.keys().copied().collect()
    }

    /// Whether `moved` holds all that differs since a tick. A watcher of which this is not true needs a snapshot.
    pub fn is_exact(&self, tenant_id: i32, view: ViewId, since_seq: u64) -> bool {
        self.tenants.get(&tenant_id).map_or(view == WHOLE && since_seq == 0, |tenant| tenant.is_exact(view, since_seq))
    }

    /// A `snapshot` frame. Closes the tenant's tick as `settle` does, so that all that is known is in it.
    pub fn snapshot(
        &mut self,
        tenant_id: i32,
        view: ViewId,
        format: Format,
        epoch: &str,
        now_millis: i64,
    ) -> Vec<Vec<u8>> {
        self.settle(tenant_id, now_millis);
        self.tenants.entry(tenant_id).or_default().snapshot(view, format, epoch)
    }

    /// A `moved` frame of every device that a tick after `since_seq` announced; no message if there is none.
    pub fn moved(&self, tenant_id: i32, view: ViewId, format: Format, since_seq: u64) -> Vec<Vec<u8>> {
        self.tenants.get(&tenant_id).map_or_else(Vec::new, |tenant| tenant.moved(view, format, since_seq))
    }

    /// A `GeoJSON` `FeatureCollection` of the tenant's positions.
    pub fn geojson(&self, tenant_id: i32) -> Vec<u8> {
        frame::geojson(self.tenants.get(&tenant_id).into_iter().flat_map(Tenant::positions))
    }

    /// Number of devices with a position, of all tenants.
    pub fn len(&self) -> usize {
        self.shown
    }

    /// Whether no device has a position.
    pub fn is_empty(&self) -> bool {
        self.shown == 0
    }
}
