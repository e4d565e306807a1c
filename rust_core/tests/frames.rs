//! Frames in all formats, read back by other people's decoders: what is read is what was to be written, and no message
//! is larger than it may be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use fleetwire_core::fix::{Fix, NONE_I16, NONE_I32};
use fleetwire_core::frame::{Format, Head, Left, MESSAGE_BYTES, Name, Row, render};
use proptest::prelude::*;
use prost::Message;
use serde_json::Value;

/// `Frame` of proto/feed.proto.
#[derive(Clone, PartialEq, Message)]
struct ProtoFrame {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    epoch: String,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(bool, tag = "4")]
    more: bool,
    #[prost(message, repeated, tag = "5")]
    names: Vec<ProtoName>,
    #[prost(sint64, repeated, tag = "6")]
    devices: Vec<i64>,
    #[prost(sint64, repeated, tag = "7")]
    fixed_at_millis: Vec<i64>,
    #[prost(sint64, repeated, tag = "8")]
    lat_e7: Vec<i64>,
    #[prost(sint64, repeated, tag = "9")]
    lon_e7: Vec<i64>,
    #[prost(uint32, repeated, tag = "10")]
    accuracy_dm: Vec<u32>,
    #[prost(uint32, repeated, tag = "11")]
    altitude_dm: Vec<u32>,
    #[prost(uint32, repeated, tag = "12")]
    heading_cdeg: Vec<u32>,
    #[prost(uint32, repeated, tag = "13")]
    speed_cmps: Vec<u32>,
    #[prost(uint32, repeated, tag = "14")]
    battery_permille: Vec<u32>,
    #[prost(sint64, repeated, tag = "15")]
    left: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoName {
    #[prost(sint64, tag = "1")]
    device: i64,
    #[prost(string, tag = "2")]
    name: String,
}

/// A device in a frame, as a test has it and as it is read back.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    device_id: i64,
    name: String,
    fix: Fix,
    is_new: bool,
}

/// What a frame of several messages says, put together.
#[derive(Debug, Default, PartialEq)]
struct Told {
    seqs: Vec<u64>,
    more: Vec<bool>,
    rows: Vec<Seen>,
    left: Vec<(i64, String)>,
}

fn optional<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + 'static,
    none: T,
) -> impl Strategy<Value = T> {
    prop_oneof![3 => values, 1 => Just(none)]
}

fn seen() -> impl Strategy<Value = Seen> {
    let place =
        (946_684_800_000..4_000_000_000_000_i64, -900_000_000..=900_000_000_i32, -1_800_000_000..=1_800_000_000_i32);
    let members = (
        optional(-120_000..=1_000_000_i32, NONE_I32),
        optional(0..=32_700_i16, NONE_I16),
        optional(-18_000..18_000_i16, NONE_I16),
        optional(0..=i16::MAX, NONE_I16),
        optional(0..=1_000_i16, NONE_I16),
    );
    let name = prop_oneof![3 => "[a-z]{1,8}-[0-9]{1,4}", 1 => any::<String>().prop_map(|name| name.chars().take(128).collect())];
    (prop_oneof![0..5_000_i64, any::<i64>()], name, place, members, any::<bool>()).prop_map(
        |(
            device_id,
            name,
            (fixed_at_millis, lat_e7, lon_e7),
            (altitude_dm, speed_cmps, heading_cdeg, accuracy_dm, battery_permille),
            is_new,
        )| {
            let fix = Fix {
                fixed_at_millis,
                lat_e7,
                lon_e7,
                altitude_dm,
                speed_cmps,
                heading_cdeg,
                accuracy_dm,
                battery_permille,
            };
            Seen { device_id, name, fix, is_new }
        },
    )
}

fn write(format: Format, head: Head<'_>, rows: &[Seen], left: &[(i64, String)]) -> Vec<Vec<u8>> {
    let names: Vec<Name> = rows.iter().map(|row| Name::new(&row.name)).collect();
    let left_names: Vec<Name> = left.iter().map(|(_, name)| Name::new(name)).collect();
    let rows = rows.iter().zip(&names).map(|(row, name)| Row {
        device_id: row.device_id,
        name,
        fix: &row.fix,
        is_new: row.is_new,
    });
    let left = left.iter().zip(&left_names).map(|((device_id, _), name)| Left { device_id: *device_id, name });
    render(format, head, rows, left)
}

/// The oracle of the numbers is the nearest double of the decimal.
fn read_json(messages: &[Vec<u8>], kind: &str) -> Told {
    let mut told = Told::default();
    for message in messages {
        let message: Value = serde_json::from_slice(message).unwrap();
        assert_eq!(message["type"], kind);
        told.seqs.push(message["seq"].as_u64().unwrap());
        told.more.push(message.get("more").is_some_and(|more| more.as_bool().unwrap()));
        for position in message["positions"].as_array().unwrap() {
            let scaled = |name: &str, factor: f64| {
                #[expect(clippy::cast_possible_truncation, reason = "within the ranges of a fix")]
                position.get(name).map(|value| (value.as_f64().unwrap() * factor).round() as i64)
            };
            let small = |value: Option<i64>| value.map_or(NONE_I16, |value| i16::try_from(value).unwrap());
            let fix = Fix {
                fixed_at_millis: position["timestamp"].as_i64().unwrap(),
                lat_e7: scaled("latitude", 1e7).unwrap().try_into().unwrap(),
                lon_e7: scaled("longitude", 1e7).unwrap().try_into().unwrap(),
                altitude_dm: scaled("altitude", 10.0).map_or(NONE_I32, |value| value.try_into().unwrap()),
                speed_cmps: small(scaled("speed", 100.0)),
                heading_cdeg: small(scaled("heading", 100.0).map(|cdeg| (cdeg + 18_000) % 36_000 - 18_000)),
                accuracy_dm: small(scaled("accuracy", 10.0)),
                battery_permille: small(scaled("battery", 1000.0)),
            };
            told.rows.push(Seen {
                device_id: 0,
                name: position["device"].as_str().unwrap().to_owned(),
                fix,
                is_new: false,
            });
        }
        for name in message.get("left").into_iter().flat_map(|left| left.as_array().unwrap()) {
            told.left.push((0, name.as_str().unwrap().to_owned()));
        }
    }
    told
}

/// Rows as the objects that they stand for: what was told is then read as the plain JSON is.
fn read_rows(messages: &[Vec<u8>], kind: &str) -> Told {
    let objects = |message: &Vec<u8>| {
        let mut message: Value = serde_json::from_slice(message).unwrap();
        let columns = message.as_object_mut().unwrap().remove("columns").unwrap();
        for position in message["positions"].as_array_mut().unwrap() {
            let row = position.as_array().unwrap();
            assert!(row.len() >= 4 && row.last().is_some_and(|value| !value.is_null()), "{row:?}");
            let members = columns.as_array().unwrap().iter().zip(row).filter(|(_, value)| !value.is_null());
            *position = members.map(|(name, value)| (name.as_str().unwrap().to_owned(), value.clone())).collect();
        }
        serde_json::to_vec(&message).unwrap()
    };
    read_json(&messages.iter().map(objects).collect::<Vec<_>>(), kind)
}

fn sums(differences: &[i64]) -> Vec<i64> {
    let sum = |total: &mut i64, difference: &i64| {
        *total = total.wrapping_add(*difference);
        Some(*total)
    };
    differences.iter().scan(0, sum).collect()
}

fn read_protobuf(messages: &[Vec<u8>], kind: i32) -> Told {
    let mut told = Told::default();
    for message in messages {
        let frame = ProtoFrame::decode(message.as_slice()).unwrap();
        assert_eq!(frame.kind, kind);
        told.seqs.push(frame.seq);
        told.more.push(frame.more);
        let mut names = frame.names.into_iter().peekable();
        let (devices, fixed_at) = (sums(&frame.devices), sums(&frame.fixed_at_millis));
        let (lats, lons) = (sums(&frame.lat_e7), sums(&frame.lon_e7));
        for (at, device_id) in devices.into_iter().enumerate() {
            let given = |column: &[u32]| column.get(at).and_then(|value| value.checked_sub(1)).map(i64::from);
            let small = |value: Option<i64>| value.map_or(NONE_I16, |value| i16::try_from(value).unwrap());
            let altitude = given(&frame.altitude_dm).map(|value| (value >> 1) ^ -(value & 1));
            let fix = Fix {
                fixed_at_millis: fixed_at[at],
                lat_e7: lats[at].try_into().unwrap(),
                lon_e7: lons[at].try_into().unwrap(),
                altitude_dm: altitude.map_or(NONE_I32, |value| value.try_into().unwrap()),
                speed_cmps: small(given(&frame.speed_cmps)),
                heading_cdeg: small(given(&frame.heading_cdeg).map(|cdeg| (cdeg + 18_000) % 36_000 - 18_000)),
                accuracy_dm: small(given(&frame.accuracy_dm)),
                battery_permille: small(given(&frame.battery_permille)),
            };
            // Names stand in the order of the positions that they belong to.
            let name = names.next_if(|name| name.device == device_id).map(|name| name.name);
            told.rows.push(Seen { device_id, is_new: name.is_some(), name: name.unwrap_or_default(), fix });
        }
        assert_eq!(names.next(), None);
        told.left.extend(sums(&frame.left).into_iter().map(|device_id| (device_id, String::new())));
    }
    told
}

proptest! {
    #[test]
    fn all_formats_say_what_was_to_be_said(
        rows in prop::collection::vec(seen(), 0..40),
        left in prop::collection::vec((any::<i64>(), any::<String>()), 0..10),
        seq in 0..u64::MAX / 2,
        is_snapshot in any::<bool>(),
    ) {
        // Two neighbours of the same number could not be told apart by their names; in a frame there are none.
        let rows: Vec<Seen> = (0..).zip(rows).map(|(at, row)| Seen { device_id: (row.device_id & !63) | at, ..row }).collect();
        let left = if is_snapshot { Vec::new() } else { left };
        let head = if is_snapshot { Head::Snapshot { epoch: "e", seq } } else { Head::Moved { seq } };
        let is_silent = !is_snapshot && rows.is_empty() && left.is_empty();
        let one = |is_told: bool| if is_told { Vec::new() } else { vec![seq] };

        let kind = if is_snapshot { "snapshot" } else { "moved" };
        let json = read_json(&write(Format::Json, head, &rows, &left), kind);
        prop_assert_eq!(&read_rows(&write(Format::Rows, head, &rows, &left), kind), &json);
        prop_assert_eq!(json.seqs, one(is_silent));
        let bare: Vec<Seen> = rows.iter().map(|row| Seen { device_id: 0, is_new: false, ..row.clone() }).collect();
        prop_assert_eq!(json.rows, bare);
        prop_assert_eq!(json.left.iter().map(|gone| &gone.1).collect::<Vec<_>>(), left.iter().map(|gone| &gone.1).collect::<Vec<_>>());

        let protobuf = read_protobuf(&write(Format::Protobuf, head, &rows, &left), if is_snapshot { 1 } else { 2 });
        prop_assert_eq!(protobuf.seqs, one(is_silent));
        let named = |row: &Seen| if row.is_new { row.clone() } else { Seen { name: String::new(), ..row.clone() } };
        prop_assert_eq!(protobuf.rows, rows.iter().map(named).collect::<Vec<_>>());
        prop_assert_eq!(protobuf.left.iter().map(|gone| gone.0).collect::<Vec<_>>(), left.iter().map(|gone| gone.0).collect::<Vec<_>>());
    }
}

fn fleet(devices: i64, is_new: bool) -> Vec<Seen> {
    let seen = |device_id: i64| {
        let step = i32::try_from(device_id * 7_919 % 100_000).unwrap();
        let small = i16::try_from(device_id % 1_000).unwrap();
        let fix = Fix {
            fixed_at_millis: 1_763_768_400_000 + device_id * 37 % 5_000,
            lat_e7: 481_000_000 + step * 10,
            lon_e7: 115_000_000 + (step * 31) % 1_000_000,
            altitude_dm: NONE_I32,
            speed_cmps: small * 3,
            heading_cdeg: small * 17,
            accuracy_dm: 50 + small % 10,
            battery_permille: NONE_I16,
        };
        Seen { device_id, name: format!("truck-{device_id}"), fix, is_new }
    };
    (1..=devices).map(seen).collect()
}

#[test]
fn a_large_frame_comes_in_pieces_of_which_all_but_the_last_say_more() {
    let rows = fleet(10_000, true);
    let left: Vec<(i64, String)> =
        (0..9_000).map(|device_id| (device_id * 1_000_003, format!("left-{device_id}"))).collect();
    let head = Head::Moved { seq: 8 };
    for (format, read) in [
        (Format::Json, (|messages| read_json(messages, "moved")) as fn(&[Vec<u8>]) -> Told),
        (Format::Rows, |messages| read_rows(messages, "moved")),
        (Format::Protobuf, |messages| read_protobuf(messages, 2)),
    ] {
        let messages = write(format, head, &rows, &left);
        assert!(messages.len() > 3 && messages.iter().all(|message| message.len() <= MESSAGE_BYTES), "{format:?}");
        let told = read(&messages);
        assert!(told.seqs.iter().all(|seq| *seq == 8));
        let (last, others) = told.more.split_last().unwrap();
        assert!(!last && others.iter().all(|more| *more), "{format:?}");
        assert_eq!((told.rows.len(), told.left.len()), (rows.len(), left.len()), "{format:?}");
        assert!(told.rows.iter().zip(&rows).all(|(told, row)| told.fix == row.fix), "{format:?}");
    }
}

#[test]
fn the_first_text_of_a_snapshot_is_the_longest_a_socket_gets() {
    let rows = fleet(10_000, true);
    for format in [Format::Json, Format::Rows] {
        let snapshot = write(format, Head::Snapshot { epoch: "e", seq: 7 }, &rows, &[]);
        let longest = snapshot[0].len();
        assert!(longest > MESSAGE_BYTES - 1024 && longest <= MESSAGE_BYTES, "{longest} bytes");
        let others = snapshot.into_iter().skip(1).chain(write(format, Head::Moved { seq: 8 }, &rows, &[]));
        assert!(others.into_iter().all(|message| message.len() < longest), "{format:?}");
    }
}

#[test]
fn a_row_takes_about_half_of_what_an_object_takes() {
    let bytes = |format| write(format, Head::Moved { seq: 1 }, &fleet(2_500, false), &[]).iter().map(Vec::len).sum();
    let (objects, rows): (usize, usize) = (bytes(Format::Json), bytes(Format::Rows));
    assert!(20 * rows < 11 * objects, "{rows} bytes of rows, {objects} of objects");
}

#[test]
fn a_position_of_a_fleet_takes_about_fifteen_bytes() {
    let messages = write(Format::Protobuf, Head::Moved { seq: 1 }, &fleet(2_500, false), &[]);
    let bytes: usize = messages.iter().map(Vec::len).sum();
    assert!((10..17).contains(&(bytes / 2_500)), "{bytes} bytes of 2,500 positions");
}
