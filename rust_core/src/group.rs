//! The batches that one transaction stores: which devices to lock, what may be stored already, and what is new.
//!
//! The caller locks `devices`, reads their newest stored times, asks `late_spans` which history to read, and passes both
//! to `seal`. While the rows are locked nobody else adds fixes of these devices, so what `seal` calls new is new.

use std::borrow::{Borrow, Cow};

use thiserror::Error;

use crate::batch::{Batch, Columns};
use crate::fix::DAY_MILLIS;
use crate::late::{LateSpan, StoredTimes, push_spans};
use crate::live::Position;
use crate::pg_array::ArrayError;
use crate::recent::Recent;
use crate::record::{self, RowTypes};
use crate::segment::split;

/// A batch and whose it is. `B` is whatever holds the batch: the binding's is a reference that Python counts.
#[derive(Clone, Debug)]
pub struct Member<B> {
    /// The company.
    pub tenant_id: i32,
    /// What sent the batch.
    pub device_id: i64,
    /// What it sent.
    pub batch: B,
}

/// Batches in the order they arrived, and the devices they are of.
#[derive(Debug)]
pub struct Group<B> {
    members: Vec<Member<B>>,
    /// Ascending by (tenant, device), each once: the order in which rows are locked.
    devices: Vec<DeviceBatches>,
}

/// A device of the group and its batches.
#[derive(Debug)]
struct DeviceBatches {
    tenant_id: i32,
    device_id: i64,
    /// Places in `Group::members`, ascending, so in order of arrival.
    members: Vec<usize>,
}

/// What became of one member's accepted fixes: `stored + duplicate` of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// New ones.
    pub stored: usize,
    /// Known already, from history, the group or the batch itself.
    pub duplicate: usize,
}

/// A group ready to be written.
#[derive(Debug, Default)]
pub struct Sealed {
    /// New rows of `track_segment`, as an array in binary form.
    pub segments: Vec<u8>,
    /// Number of rows.
    pub segment_count: usize,
    /// Per member, in their order.
    pub tallies: Vec<Tally>,
    /// The newest new fix of every device that moved forward, ascending by (tenant, device).
    pub live: Vec<Position>,
}

/// The caller's answers do not fit the group.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum GroupError {
    /// One newest time per device was asked for.
    #[error("{given} newest times for {devices} devices")]
    Devices {
        /// Devices of the group.
        devices: usize,
        /// Times given.
        given: usize,
    },
    /// A stored segment cannot be read.
    #[error("offset_millis of a stored segment: {0}")]
    Stored(#[from] ArrayError),
}

impl<B: Borrow<Batch>> Group<B> {
    /// `members` in the order they arrived.
    pub fn new(members: Vec<Member<B>>) -> Self {
        let mut order: Vec<(i32, i64, usize)> =
            members.iter().enumerate().map(|(place, member)| (member.tenant_id, member.device_id, place)).collect();
        order.sort_unstable();
        let mut devices: Vec<DeviceBatches> = Vec::new();
        for (tenant_id, device_id, place) in order {
            match devices.last_mut() {
                Some(last) if (last.tenant_id, last.device_id) == (tenant_id, device_id) => last.members.push(place),
                _ => devices.push(DeviceBatches { tenant_id, device_id, members: vec![place] }),
            }
        }
        Self { members, devices }
    }

    /// The batches, in the order they arrived.
    pub fn members(&self) -> &[Member<B>] {
        &self.members
    }

    /// (tenant, device), each pair once, ascending.
    pub fn devices(&self) -> impl Iterator<Item = (i32, i64)> {
        self.devices.iter().map(|device| (device.tenant_id, device.device_id))
    }

    /// UTC days of the accepted fixes as days since 1970, ascending, each once.
    pub fn days(&self) -> Vec<i64> {
        let mut days = Vec::new();
        for member in &self.members {
            for time in &member.batch.borrow().columns.fixed_at_millis {
                let day = time.div_euclid(DAY_MILLIS);
                // Neighbours are nearly always of one day, which leaves a handful to sort.
                if days.last() != Some(&day) {
                    days.push(day);
                }
            }
        }
        days.sort_unstable();
        days.dedup();
        days
    }

    /// The spans of every device's late fixes: those at or before its newest stored one that are not remembered.
    ///
    /// # Errors
    /// `last_fixed_millis` does not answer `devices` one by one.
    pub fn late_spans(&self, last_fixed_millis: &[Option<i64>], recent: &Recent) -> Result<Vec<LateSpan>, GroupError> {
        self.check_answers(last_fixed_millis)?;
        let mut spans = Vec::new();
        for (device, last) in self.devices.iter().zip(last_fixed_millis) {
            let remembered = recent.times(device.tenant_id, device.device_id);
            let mut late = self.late_times(device, *last);
            late.retain(|time| remembered.binary_search(time).is_err());
            push_spans(device.tenant_id, device.device_id, &late, &mut spans);
        }
        Ok(spans)
    }

    /// Times at or before the device's newest stored one, ascending, each once.
    fn late_times(&self, device: &DeviceBatches, last_fixed_millis: Option<i64>) -> Vec<i64> {
        let Some(last) = last_fixed_millis else { return Vec::new() };
        let mut late: Vec<i64> = self.times(device).filter(|time| *time <= last).collect();
        late.sort_unstable();
        late.dedup();
        late
    }

    /// Drops what is stored already and renders the rest.
    ///
    /// Fixes that several batches of the group have in common count as stored for the batch that arrived first. All new
    /// fixes of a device and a day become one row, so a phone that sends fix by fix costs fewer rows under load.
    ///
    /// # Errors
    /// `last_fixed_millis` does not answer `devices` one by one, or a stored segment cannot be read.
    pub fn seal(
        &self,
        last_fixed_millis: &[Option<i64>],
        stored: &[StoredTimes<'_>],
        recent: &Recent,
        received_at_millis: i64,
        types: RowTypes,
    ) -> Result<Sealed, GroupError> {
        self.check_answers(last_fixed_millis)?;
        let known = self.known_times(last_fixed_millis, stored, recent)?;
        let mut tallies = vec![Tally::default(); self.members.len()];
        let fresh: Vec<(&DeviceBatches, Cow<'_, Columns>)> = self
            .devices
            .iter()
            .zip(&known)
            .map(|(device, known)| (device, self.fresh_columns(device, known, &mut tallies)))
            .collect();
        let mut segments = Vec::with_capacity(fresh.len());
        for (device, columns) in &fresh {
            split(device.tenant_id, device.device_id, columns, &mut segments);
        }
        let live = fresh.iter().zip(last_fixed_millis).filter_map(|((device, columns), last)| {
            let fix = columns.get(columns.len().checked_sub(1)?)?;
            let forward = last.is_none_or(|last| fix.fixed_at_millis > last);
            forward.then_some(Position { tenant_id: device.tenant_id, device_id: device.device_id, fix })
        });
        let live = live.collect();
        let segment_count = segments.len();
        let segments = record::segments(&segments, received_at_millis, types);
        Ok(Sealed { segments, segment_count, tallies, live })
    }

    /// The device's new fixes, ascending by time, and every member's tally.
    fn fresh_columns(&self, device: &DeviceBatches, known: &[i64], tallies: &mut [Tally]) -> Cow<'_, Columns> {
        if let [place] = device.members.as_slice()
            && let Some(member) = self.members.get(*place)
            && known.is_empty()
            && member.batch.borrow().columns.fixed_at_millis.is_sorted_by(|a, b| a < b)
        {
            // The ordinary batch: nothing to compare it with, and stored as it came.
            let columns = &member.batch.borrow().columns;
            if let Some(tally) = tallies.get_mut(*place) {
                tally.stored = columns.len();
            }
            return Cow::Borrowed(columns);
        }
        // Sorted by (time, arrival, place in the batch), the first of equal times is the one that came first.
        let mut entries: Vec<(i64, usize, usize)> = Vec::new();
        for (place, columns) in self.batches(device) {
            entries.extend(columns.fixed_at_millis.iter().enumerate().map(|(index, time)| (*time, place, index)));
        }
        entries.sort_unstable();
        let mut fresh = Columns::with_capacity(entries.len());
        let mut known = known.iter().copied().peekable();
        let mut previous = None;
        for (time, place, index) in entries {
            while known.next_if(|stored| *stored < time).is_some() {}
            let duplicate = previous == Some(time) || known.peek() == Some(&time);
            previous = Some(time);
            let Some(tally) = tallies.get_mut(place) else { continue };
            if duplicate {
                tally.duplicate += 1;
            } else if let Some(fix) =
                self.members.get(place).and_then(|member| member.batch.borrow().columns.get(index))
            {
                tally.stored += 1;
                fresh.push(fix);
            }
        }
        Cow::Owned(fresh)
    }

    fn times<'a>(&'a self, device: &'a DeviceBatches) -> impl Iterator<Item = i64> + 'a {
        self.batches(device).flat_map(|(_, columns)| columns.fixed_at_millis.iter().copied())
    }

    fn batches<'a>(&'a self, device: &'a DeviceBatches) -> impl Iterator<Item = (usize, &'a Columns)> {
        let member = |place: &usize| Some((*place, &self.members.get(*place)?.batch.borrow().columns));
        device.members.iter().filter_map(member)
    }

    /// The late times of each device that are stored, ascending. What else is stored is not held in memory, nor are
    /// segments of devices that are not in the group.
    fn known_times(
        &self,
        last_fixed_millis: &[Option<i64>],
        stored: &[StoredTimes<'_>],
        recent: &Recent,
    ) -> Result<Vec<Vec<i64>>, ArrayError> {
        let answered = self.devices.iter().zip(last_fixed_millis);
        let late: Vec<Vec<i64>> = answered.map(|(device, last)| self.late_times(device, *last)).collect();
        let mut known: Vec<Vec<i64>> = Vec::with_capacity(late.len());
        for (device, late) in self.devices.iter().zip(&late) {
            let remembered = recent.times(device.tenant_id, device.device_id);
            known.push(late.iter().copied().filter(|time| remembered.binary_search(time).is_ok()).collect());
        }
        for segment in stored {
            let key = (segment.tenant_id, segment.device_id);
            let place = self.devices.binary_search_by_key(&key, |device| (device.tenant_id, device.device_id));
            if let Some((late, known)) = place.ok().and_then(|place| Some((late.get(place)?, known.get_mut(place)?))) {
                segment.push_held(late, known)?;
            }
        }
        for times in &mut known {
            times.sort_unstable();
        }
        Ok(known)
    }

    fn check_answers(&self, last_fixed_millis: &[Option<i64>]) -> Result<(), GroupError> {
        let (devices, given) = (self.devices.len(), last_fixed_millis.len());
        if devices == given { Ok(()) } else { Err(GroupError::Devices { devices, given }) }
    }
}
