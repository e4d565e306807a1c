//! The fixes of a batch: what is read, and which fault of which fix is told.

use fleetwire_core::fix::{Fix, NONE_I16, NONE_I32};
use serde_json::{Value, json};

use crate::{NOW_MILLIS, read_both, read_json, read_msgpack};

const SENT_MILLIS: i64 = 1_763_768_400_000;

fn fix() -> Value {
    json!({"timestamp": SENT_MILLIS, "latitude": 48.137_154, "longitude": 11.576_124})
}

fn with(member: &str, value: Value) -> Value {
    let mut fix = fix();
    fix[member] = value;
    fix
}

fn without(member: &str) -> Value {
    let mut fix = fix();
    fix.as_object_mut().unwrap().remove(member);
    fix
}

/// Index and code of every reject.
fn rejects(fixes: &[Value]) -> Vec<(u32, String)> {
    let batch = read_both(&json!({ "fixes": fixes })).unwrap();
    assert_eq!(batch.sent(), fixes.len());
    batch.rejects.iter().map(|reject| (reject.index, reject.code())).collect()
}

#[test]
fn the_contract_s_example_is_read_to_the_last_digit() {
    let batch = read_both(&json!({"device": "truck-7", "fixes": [{
        "timestamp": SENT_MILLIS, "latitude": 48.137_154, "longitude": 11.576_124, "accuracy": 5.0, "altitude": 519.0,
        "heading": 271.0, "speed": 13.4, "battery": 0.8,
    }]}))
    .unwrap();
    assert_eq!(batch.device.as_deref(), Some("truck-7"));
    assert_eq!(batch.message_id, None);
    assert_eq!(batch.rejects, []);
    let expected = Fix {
        fixed_at_millis: SENT_MILLIS,
        lat_e7: 481_371_540,
        lon_e7: 115_761_240,
        altitude_dm: 5_190,
        speed_cmps: 1_340,
        heading_cdeg: -8_900,
        accuracy_dm: 50,
        battery_permille: 800,
    };
    assert_eq!(batch.columns.get(0), Some(expected));
    assert_eq!(batch.columns.len(), 1);
}

#[test]
fn null_and_unknown_members_are_as_good_as_absent() {
    let bare = read_both(&json!([fix()])).unwrap();
    let mut padded = fix();
    for member in ["accuracy", "altitude", "heading", "speed", "battery"] {
        padded[member] = Value::Null;
    }
    padded["extras"] = json!({"deep": [[1, "text", {"timestamp": 5}], null, true], "odometer": -3.5e3});
    padded["altitudeAccuracy"] = json!("unknown");
    padded[""] = json!([]);
    assert_eq!(read_both(&json!([padded])).unwrap(), bare);
    let read = bare.columns.get(0).unwrap();
    assert_eq!((read.altitude_dm, read.speed_cmps, read.heading_cdeg), (NONE_I32, NONE_I16, NONE_I16));
    assert_eq!((read.accuracy_dm, read.battery_permille), (NONE_I16, NONE_I16));
}

#[test]
fn times_may_be_integers_doubles_or_text_with_an_offset() {
    let fixes: Vec<Value> = [
        json!(SENT_MILLIS),
        json!(1_763_768_400_000.75),
        json!("2025-11-21T23:40:00Z"),
        json!("2025-11-22T00:40:00.000+01:00"),
        json!("2025-11-21T16:40:00-0700"),
    ]
    .map(|timestamp| with("timestamp", timestamp))
    .into();
    let batch = read_both(&Value::from(fixes)).unwrap();
    assert_eq!(batch.columns.fixed_at_millis, [SENT_MILLIS; 5]);
}

#[test]
fn a_bad_fix_is_refused_alone_with_its_index_and_code() {
    let cases = [
        (json!(5), "fix_type"),
        (Value::Null, "fix_type"),
        (json!([[1, 2, 3]]), "fix_type"),
        (json!("fix"), "fix_type"),
        (json!({}), "timestamp_missing"),
        (with("timestamp", Value::Null), "timestamp_missing"),
        (with("timestamp", json!(true)), "timestamp_type"),
        (with("timestamp", json!("2025-11-21T23:40:00")), "timestamp_format"),
        (with("timestamp", json!("")), "timestamp_format"),
        (with("timestamp", json!(NOW_MILLIS + 600_001)), "timestamp_future"),
        (with("timestamp", json!("9999-01-01T00:00:00Z")), "timestamp_future"),
        (with("timestamp", json!(u64::MAX)), "timestamp_future"),
        (with("timestamp", json!(SENT_MILLIS / 1000)), "timestamp_past"),
        (with("timestamp", json!("0001-01-01T00:00:00Z")), "timestamp_past"),
        (with("timestamp", json!(i64::MIN)), "timestamp_past"),
        (without("latitude"), "latitude_missing"),
        (with("latitude", json!("48.1")), "latitude_type"),
        (with("latitude", json!([48.1])), "latitude_type"),
        (with("latitude", json!({"deg": 48})), "latitude_type"),
        (with("latitude", json!(-90.000_000_1)), "latitude_range"),
        (without("longitude"), "longitude_missing"),
        (with("longitude", json!(u64::MAX)), "longitude_range"),
        (with("accuracy", json!(-1)), "accuracy_range"),
        (with("altitude", json!("high")), "altitude_type"),
        (with("heading", json!(360.5)), "heading_range"),
        (with("speed", json!(false)), "speed_type"),
        (with("battery", json!(80)), "battery_range"),
    ];
    let mut fixes = vec![fix()];
    fixes.extend(cases.iter().flat_map(|(bad, _)| [bad.clone(), fix()]));
    let expected: Vec<(u32, String)> =
        (1..).step_by(2).zip(&cases).map(|(index, (_, code))| (index, (*code).to_owned())).collect();
    assert_eq!(rejects(&fixes), expected);
}

#[test]
fn the_first_fault_is_told_whatever_the_order_of_the_members() {
    let cases = [
        (r#"{"battery":"full","latitude":[],"timestamp":"soon","longitude":1}"#, "timestamp_format"),
        (r#"{"battery":"full","latitude":[],"timestamp":false,"longitude":1}"#, "timestamp_type"),
        (r#"{"battery":"full","latitude":[],"longitude":1}"#, "timestamp_missing"),
        (r#"{"battery":"full","latitude":[],"timestamp":1763768400000}"#, "latitude_type"),
        (r#"{"battery":"full","latitude":99,"timestamp":1763768400000,"longitude":{}}"#, "latitude_range"),
        (r#"{"battery":"full","speed":-1,"timestamp":1763768400000,"latitude":1,"longitude":1}"#, "speed_range"),
    ];
    for (fix, code) in cases {
        let batch = read_json(format!("[{fix}]")).unwrap();
        assert_eq!(batch.rejects.first().unwrap().code(), code, "{fix}");
    }
}

#[test]
fn the_last_of_a_repeated_member_counts() {
    let good = r#""timestamp":1763768400000,"latitude":48.137154,"longitude":11.576124"#;
    let cases = [
        (format!(r#"[{{"timestamp":"soon","latitude":"north",{good}}}]"#), None),
        (format!(r#"[{{{good},"latitude":null}}]"#), Some("latitude_missing")),
        (format!(r#"[{{{good},"latitude":"north"}}]"#), Some("latitude_type")),
        (format!(r#"[{{{good},"timestamp":"soon","timestamp":[]}}]"#), Some("timestamp_type")),
        (format!(r#"[{{{good},"timestamp":[],"timestamp":"soon"}}]"#), Some("timestamp_format")),
        (format!(r#"[{{{good},"timestamp":"soon","timestamp":1763768400000}}]"#), None),
    ];
    for (body, code) in cases {
        let batch = read_json(&body).unwrap();
        assert_eq!(batch.rejects.first().map(fleetwire_core::reject::Reject::code).as_deref(), code, "{body}");
    }
}

#[test]
fn keys_may_be_escaped() {
    let batch = read_json(r#"[{"time\u0073tamp":1763768400000,"latitude":1,"longitud\u0065":2}]"#).unwrap();
    assert_eq!((batch.columns.len(), batch.columns.lon_e7.as_slice()), (1, [20_000_000].as_slice()));
}

#[test]
fn a_number_too_large_for_a_double_is_not_finite() {
    let batch = read_json(r#"[{"timestamp":1763768400000,"latitude":1e400,"longitude":0}]"#).unwrap();
    assert_eq!(batch.rejects.first().unwrap().code(), "latitude_not_finite");
    let batch = read_json(r#"[{"timestamp":-1e999,"latitude":0,"longitude":0}]"#).unwrap();
    assert_eq!(batch.rejects.first().unwrap().code(), "timestamp_not_finite");
    for (value, code) in [(f64::NAN, "latitude_not_finite"), (f64::NEG_INFINITY, "latitude_not_finite")] {
        let mut body =
            b"\x91\x83\xa9timestamp\xcf\x00\x00\x01\x9a\xa8\xb8\xcb\x80\xa9longitude\x00\xa8latitude\xcb".to_vec();
        body.extend(value.to_be_bytes());
        assert_eq!(read_msgpack(body).unwrap().rejects.first().unwrap().code(), code);
    }
}

#[test]
fn msgpack_numbers_may_have_any_width() {
    let widths: [&[u8]; 8] = [
        b"\x05",
        b"\xcc\x05",
        b"\xcd\x00\x05",
        b"\xce\x00\x00\x00\x05",
        b"\xd0\x05",
        b"\xd1\x00\x05",
        b"\xd3\x00\x00\x00\x00\x00\x00\x00\x05",
        b"\xca\x40\xa0\x00\x00",
    ];
    for width in widths {
        let mut body = b"\x83\xa9timestamp\xb42025-11-21T23:40:00Z\xa8latitude\xff\xa9longitude".to_vec();
        body.extend(width);
        let batch = read_msgpack(&body).unwrap();
        assert_eq!(batch.columns.lat_e7, [-10_000_000], "{width:x?}");
        assert_eq!(batch.columns.lon_e7, [50_000_000], "{width:x?}");
        assert_eq!(batch.columns.fixed_at_millis, [SENT_MILLIS], "{width:x?}");
    }
}
