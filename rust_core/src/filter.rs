//! What a watcher wants to see: an area, a status, named devices, devices of groups, or several of these at once.

use std::collections::BTreeSet;

use crate::area::Area;
use crate::fix::{Fix, NONE_I16};

/// What a device does, as far as its newest fix says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Its newest fix is fresh, and as fast as a moving thing.
    Moving,
    /// Its newest fix is fresh, and slower, or without a speed.
    Stopped,
    /// Its newest fix is too old to say.
    #[default]
    Offline,
}

/// Where the line between the statuses runs.
#[derive(Clone, Copy, Debug)]
pub struct StatusRule {
    /// From this speed on a device moves, in centimetres per second.
    pub moving_cmps: i16,
    /// A fix that is older says nothing about the present, in milliseconds of the device's clock.
    pub offline_millis: i64,
}

impl StatusRule {
    /// The status of a device with this newest fix.
    pub fn status(&self, fix: &Fix, now_millis: i64) -> Status {
        if now_millis - fix.fixed_at_millis > self.offline_millis {
            Status::Offline
        } else if fix.speed_cmps != NONE_I16 && fix.speed_cmps >= self.moving_cmps {
            Status::Moving
        } else {
            Status::Stopped
        }
    }
}

/// Some of the three statuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Statuses(u8);

impl Statuses {
    /// These and the given one.
    #[must_use]
    pub fn with(self, status: Status) -> Self {
        Self(self.0 | 1 << status as u8)
    }

    /// Whether the given one is among them.
    pub fn contains(self, status: Status) -> bool {
        self.0 & 1 << status as u8 != 0
    }
}

/// What a watcher sees. A device must satisfy every member that is given; without any, all of the tenant's do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Devices that stand here.
    pub area: Option<Area>,
    /// Devices that do this.
    pub statuses: Option<Statuses>,
    /// Devices of these names, known or not.
    pub devices: Option<BTreeSet<Box<str>>>,
    /// Devices of at least one of these groups, known or not.
    pub groups: Option<BTreeSet<Box<str>>>,
}

impl Filter {
    /// Whether it lets everything pass.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether devices are named, by themselves or by a group.
    pub fn is_choice(&self) -> bool {
        self.devices.is_some() || self.groups.is_some()
    }
}
