//! Exactly once: however fixes are sliced, ordered, repeated and grouped, each (device, time) is stored once.
//!
//! A plain set stands beside the group. What is stored is read back from the array of rows, so its form is tested with it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};

use fleetwire_core::batch::{Batch, Columns};
use fleetwire_core::fix::{DAY_MILLIS, Fix, NONE_I16, NONE_I32};
use fleetwire_core::group::{Group, GroupError, Member, Sealed, Tally};
use fleetwire_core::late::{LateSpan, Offsets, StoredTimes};
use fleetwire_core::packed;
use fleetwire_core::recent::Recent;
use fleetwire_core::record::RowTypes;
use proptest::prelude::*;

const TENANT_ID: i32 = 1;
const MIDNIGHT_MILLIS: i64 = 20_000 * DAY_MILLIS;
const RECEIVED_AT_MILLIS: i64 = MIDNIGHT_MILLIS + DAY_MILLIS;
const TYPES: RowTypes = RowTypes { track_segment: 70_001, moved_position: 70_002, packed_int4: 70_003 };

/// A fix that can be recognised by its latitude.
fn fix(fixed_at_millis: i64, lat_e7: i32) -> Fix {
    Fix {
        fixed_at_millis,
        lat_e7,
        lon_e7: -lat_e7,
        altitude_dm: NONE_I32,
        speed_cmps: if lat_e7 % 2 == 0 { 5 } else { NONE_I16 },
        heading_cdeg: NONE_I16,
        accuracy_dm: NONE_I16,
        battery_permille: NONE_I16,
    }
}

fn member(device_id: i64, fixes: impl IntoIterator<Item = Fix>) -> Member<Batch> {
    let mut columns = Columns::default();
    fixes.into_iter().for_each(|fix| columns.push(fix));
    Member { tenant_id: TENANT_ID, device_id, batch: Batch { columns, ..Batch::default() } }
}

fn at(device_id: i64, times: &[i64]) -> Member<Batch> {
    member(device_id, times.iter().map(|time| fix(*time, 7)))
}

/// A row as `PostgreSQL` would have it after the COPY.
#[derive(Debug, PartialEq)]
struct Row {
    tenant_id: i32,
    device_id: i64,
    first_at_millis: i64,
    last_at_millis: i64,
    offset_millis: Vec<u8>,
    lat_e7: Vec<i32>,
}

impl Row {
    fn times(&self) -> Vec<i64> {
        packed::read(&self.offset_millis)
            .unwrap()
            .iter()
            .map(|offset| self.first_at_millis + i64::from(*offset))
            .collect()
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(count);
    *rest = tail;
    head
}

fn i32_of(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes.try_into().unwrap())
}

fn i64_of(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(bytes.try_into().unwrap())
}

fn millis_of(bytes: &[u8]) -> i64 {
    i64_of(bytes) / 1_000 + 946_684_800_000
}

fn read_rows(array: &[u8]) -> Vec<Row> {
    let mut rest = array;
    let word = |rest: &mut &[u8]| u32::try_from(i32_of(take(rest, 4))).unwrap();
    let (dimensions, nulls, element) = (word(&mut rest), word(&mut rest), word(&mut rest));
    assert_eq!((nulls, element), (0, TYPES.track_segment));
    let length = if dimensions == 0 { 0 } else { word(&mut rest) };
    assert_eq!(dimensions == 1, length > 0 && word(&mut rest) == 1);
    let rows = (0..length).map(|_| read_row(&mut rest)).collect();
    assert!(rest.is_empty());
    rows
}

fn read_row(rest: &mut &[u8]) -> Row {
    let size = usize::try_from(i32_of(take(rest, 4))).unwrap();
    let mut fields = take(rest, size);
    assert_eq!(i32_of(take(&mut fields, 4)), 14);
    let mut field = || {
        take(&mut fields, 4); // the type
        match i32_of(take(&mut fields, 4)) {
            -1 => None,
            size => Some(take(&mut fields, usize::try_from(size).unwrap())),
        }
    };
    let row: Vec<Option<&[u8]>> = (0..14).map(|_| field()).collect();
    let required = |place: usize| row[place].unwrap();
    assert_eq!(millis_of(required(5)), RECEIVED_AT_MILLIS);
    let lat_e7 = packed::read(required(7)).unwrap();
    assert_eq!(usize::try_from(i32_of(required(1))).unwrap(), lat_e7.len());
    assert!(fields.is_empty());
    Row {
        tenant_id: i32_of(required(0)),
        device_id: i64_of(required(2)),
        first_at_millis: millis_of(required(3)),
        last_at_millis: millis_of(required(4)),
        offset_millis: required(6).to_vec(),
        lat_e7,
    }
}

/// The tables, and the transaction around a group as `store/writer.py` runs it.
struct Store {
    recent: Recent,
    rows: Vec<Row>,
    last_fixed_millis: BTreeMap<(i32, i64), i64>,
}

impl Store {
    fn new(max_recent: usize) -> Self {
        Self { recent: Recent::new(max_recent), rows: Vec::new(), last_fixed_millis: BTreeMap::new() }
    }

    fn commit(&mut self, group: &Group<Batch>) -> Sealed {
        let last: Vec<Option<i64>> = group.devices().map(|key| self.last_fixed_millis.get(&key).copied()).collect();
        let spans = group.late_spans(&last, &self.recent).unwrap();
        let in_a_span = |row: &&Row| {
            spans.iter().any(|span| {
                (span.tenant_id, span.device_id) == (row.tenant_id, row.device_id)
                    && row.first_at_millis <= span.to_millis
                    && row.last_at_millis >= span.from_millis
            })
        };
        let stored: Vec<StoredTimes<'_>> = self
            .rows
            .iter()
            .filter(in_a_span)
            .map(|row| StoredTimes {
                tenant_id: row.tenant_id,
                device_id: row.device_id,
                first_at_millis: row.first_at_millis,
                offsets: Offsets::Packed(&row.offset_millis),
            })
            .collect();
        let sealed = group.seal(&last, &stored, &self.recent, RECEIVED_AT_MILLIS, TYPES).unwrap();
        self.recent.remember(group);
        let rows = read_rows(&sealed.segments);
        assert_eq!(rows.len(), sealed.segment_count);
        self.rows.extend(rows);
        for position in &sealed.live {
            let key = (position.tenant_id, position.device_id);
            let before = self.last_fixed_millis.insert(key, position.fix.fixed_at_millis);
            assert!(before < Some(position.fix.fixed_at_millis));
        }
        sealed
    }

    fn check_rows(&self) {
        let mut keys = BTreeSet::new();
        for row in &self.rows {
            let times = row.times();
            assert!(times.is_sorted_by(|a, b| a < b));
            assert_eq!((times.first(), times.last()), (Some(&row.first_at_millis), Some(&row.last_at_millis)));
            assert_eq!(row.first_at_millis.div_euclid(DAY_MILLIS), row.last_at_millis.div_euclid(DAY_MILLIS));
            assert!(keys.insert((row.tenant_id, row.device_id, row.first_at_millis)), "primary key");
        }
    }
}

fn nothing() -> Recent {
    Recent::new(0)
}

/// (device, times): one batch. Times are few, so that repetitions are many, and lie on both sides of midnight.
fn batches() -> impl Strategy<Value = Vec<(i64, Vec<i64>)>> {
    let times = prop_oneof![
        proptest::collection::vec(-20_i64..20, 0..12),
        // What a phone sends: ascending without a gap.
        (-20_i64..20, 0_i64..8).prop_map(|(first, count)| (first..first + count).collect()),
    ];
    proptest::collection::vec((1_i64..4, times), 0..5)
}

proptest! {
    #[test]
    fn every_fix_is_stored_once(
        groups in proptest::collection::vec(batches(), 1..8),
        max_recent in prop_oneof![Just(0_usize), Just(10), Just(1000)],
    ) {
        let mut store = Store::new(max_recent);
        let mut model: BTreeMap<(i64, i64), i32> = BTreeMap::new();
        let mut serial = 0;
        for batches in groups {
            let mut members = Vec::new();
            let mut expected = Vec::new();
            for (device_id, times) in batches {
                let mut tally = Tally::default();
                let fixes: Vec<Fix> = times
                    .iter()
                    .map(|step| {
                        serial += 1;
                        fix(MIDNIGHT_MILLIS + step * 1_500, serial)
                    })
                    .collect();
                for fix in &fixes {
                    if let std::collections::btree_map::Entry::Vacant(free) = model.entry((device_id, fix.fixed_at_millis)) {
                        free.insert(fix.lat_e7);
                        tally.stored += 1;
                    } else {
                        tally.duplicate += 1;
                    }
                }
                expected.push(tally);
                members.push(member(device_id, fixes));
            }
            prop_assert_eq!(store.commit(&Group::new(members)).tallies, expected);
        }
        store.check_rows();
        let stored: Vec<((i64, i64), i32)> = store
            .rows
            .iter()
            .flat_map(|row| row.times().into_iter().map(|time| (row.device_id, time)).zip(row.lat_e7.clone()))
            .collect();
        prop_assert_eq!(stored.len(), model.len());
        prop_assert_eq!(stored.into_iter().collect::<BTreeMap<_, _>>(), model.clone());
        let mut newest = BTreeMap::new();
        for (device_id, time) in model.keys() {
            newest.insert((TENANT_ID, *device_id), *time);
        }
        prop_assert_eq!(store.last_fixed_millis, newest);
    }
}

#[test]
fn devices_are_locked_in_one_order() {
    let other = |device_id| Member { tenant_id: 0, ..at(device_id, &[1]) };
    let group = Group::new(vec![at(9, &[1]), other(12), at(2, &[1]), at(9, &[2]), other(3)]);
    assert_eq!(group.devices().collect::<Vec<_>>(), [(0, 3), (0, 12), (1, 2), (1, 9)]);
}

#[test]
fn days_are_those_of_the_fixes() {
    let group = Group::new(vec![at(1, &[DAY_MILLIS, DAY_MILLIS - 1, DAY_MILLIS + 1]), at(2, &[-1])]);
    assert_eq!(group.days(), [-1, 0, 1]);
}

#[test]
fn a_late_span_holds_late_fixes_only() {
    let group = Group::new(vec![at(1, &[10, 50]), at(2, &[40, 60]), at(2, &[30, 20]), at(3, &[5])]);
    let span = LateSpan { tenant_id: TENANT_ID, device_id: 2, from_millis: 20, to_millis: 30 };
    assert_eq!(group.late_spans(&[Some(9), Some(39), None], &nothing()), Ok(vec![span]));
    let edge = LateSpan { device_id: 1, from_millis: 10, to_millis: 10, ..span };
    assert_eq!(group.late_spans(&[Some(10), None, None], &nothing()), Ok(vec![edge]));
}

#[test]
fn what_was_stored_last_is_known_without_a_look_at_history() {
    let mut recent = Recent::new(100);
    recent.remember(&Group::new(vec![at(1, &[10, 20, 30])]));
    let again = Group::new(vec![at(1, &[20, 10, 30, 40])]);
    assert_eq!(again.late_spans(&[Some(30)], &recent), Ok(vec![]));
    let sealed = again.seal(&[Some(30)], &[], &recent, RECEIVED_AT_MILLIS, TYPES).unwrap();
    assert_eq!(sealed.tallies, [Tally { stored: 1, duplicate: 3 }]);
    assert_eq!(read_rows(&sealed.segments)[0].times(), [40]);
    let partly_known = Group::new(vec![at(1, &[10, 15])]);
    let span = LateSpan { tenant_id: TENANT_ID, device_id: 1, from_millis: 15, to_millis: 15 };
    assert_eq!(partly_known.late_spans(&[Some(40)], &recent), Ok(vec![span]));
}

#[test]
fn a_late_fix_is_history_and_not_the_present() {
    let group = Group::new(vec![at(1, &[100]), at(2, &[100])]);
    let sealed = group.seal(&[Some(200), Some(99)], &[], &nothing(), RECEIVED_AT_MILLIS, TYPES).unwrap();
    assert_eq!(sealed.segment_count, 2);
    assert_eq!(sealed.live.iter().map(|position| position.device_id).collect::<Vec<_>>(), [2]);
}

#[test]
fn batches_of_one_device_share_a_row() {
    let sealed = Group::new(vec![at(1, &[1]), at(1, &[3]), at(1, &[2])])
        .seal(&[None], &[], &nothing(), RECEIVED_AT_MILLIS, TYPES)
        .unwrap();
    assert_eq!(sealed.segment_count, 1);
    assert_eq!(read_rows(&sealed.segments)[0].times(), [1, 2, 3]);
}

#[test]
fn nothing_new_makes_no_rows() {
    let empty = Group::<Batch>::new(vec![]).seal(&[], &[], &nothing(), RECEIVED_AT_MILLIS, TYPES).unwrap();
    assert!(empty.segment_count == 0 && empty.tallies.is_empty());
    let refused = Group::new(vec![at(1, &[])]);
    assert_eq!(refused.late_spans(&[Some(5)], &nothing()), Ok(vec![]));
    let sealed = refused.seal(&[Some(5)], &[], &nothing(), RECEIVED_AT_MILLIS, TYPES).unwrap();
    assert!(read_rows(&sealed.segments).is_empty() && sealed.live.is_empty());
    assert_eq!(sealed.tallies, [Tally::default()]);
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let group = Group::new(vec![at(1, &[1])]);
    let mismatch = GroupError::Devices { devices: 1, given: 0 };
    assert_eq!(group.late_spans(&[], &nothing()), Err(mismatch));
    assert_eq!(group.seal(&[], &[], &nothing(), RECEIVED_AT_MILLIS, TYPES).unwrap_err(), mismatch);
    let stored =
        StoredTimes { tenant_id: TENANT_ID, device_id: 1, first_at_millis: 0, offsets: Offsets::Packed(b"no array") };
    assert!(matches!(
        group.seal(&[None], &[stored], &nothing(), RECEIVED_AT_MILLIS, TYPES),
        Err(GroupError::Stored(_))
    ));
}
