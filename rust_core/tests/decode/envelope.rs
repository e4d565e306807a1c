//! What stands around the fixes: the three shapes, and every code of the catalogue.

use std::collections::BTreeSet;

use fleetwire_core::decode::{BATCH_CATALOGUE, Limits, json};
use serde_json::{Value, json};

use crate::{MAX_FIXES, NOW_MILLIS, code, read_both, read_json, read_msgpack};

fn fix() -> Value {
    json!({"timestamp": 1_763_768_400_000_i64, "latitude": 1, "longitude": 2})
}

#[test]
fn an_envelope_an_array_and_a_single_fix_are_the_same_batch() {
    let array = read_both(&json!([fix()])).unwrap();
    assert_eq!(array.columns.len(), 1);
    assert_eq!(read_both(&json!({"fixes": [fix()]})).unwrap(), array);
    assert_eq!(read_both(&fix()).unwrap(), array);
}

#[test]
fn a_single_fix_may_name_its_device() {
    let mut fix = fix();
    fix["device"] = json!("truck-7");
    fix["id"] = json!("41");
    let batch = read_both(&fix).unwrap();
    assert_eq!((batch.device.as_deref(), batch.message_id.as_deref()), (Some("truck-7"), Some("41")));
    fix.as_object_mut().unwrap().remove("latitude");
    assert_eq!(read_both(&fix).unwrap().rejects.first().unwrap().code(), "latitude_missing");
}

#[test]
fn members_come_in_any_order_and_the_last_counts() {
    let fix = fix();
    let body = format!(
        r#"{{"fixes":7,"id":[],"latitude":9,"fixes":[5],"device":"","fixes":[{fix}],"x":{{"fixes":[]}},"device":"d","id":-7,"type":1,"type":"batch"}}"#
    );
    let batch = read_json(body).unwrap();
    assert_eq!((batch.device.as_deref(), batch.message_id.as_deref()), (Some("d"), Some("-7")));
    assert_eq!((batch.columns.len(), batch.rejects.len()), (1, 0));
}

#[test]
fn an_id_is_text_or_a_64_bit_integer() {
    for (id, expected) in [
        (json!("a\"\u{1}ä"), Some("a\"\u{1}ä")),
        (json!(""), Some("")),
        (json!(0), Some("0")),
        (json!(u64::MAX), Some("18446744073709551615")),
        (json!(i64::MIN), Some("-9223372036854775808")),
        (Value::Null, None),
    ] {
        let batch = read_both(&json!({"id": id, "fixes": [fix()]})).unwrap();
        assert_eq!(batch.message_id.as_deref(), expected, "{id}");
    }
    for id in ["1.0", "1e3", "18446744073709551616", &"9".repeat(4_000_000), "true", "{}"] {
        assert_eq!(code(&read_json(format!(r#"{{"id":{id},"fixes":[{}]}}"#, fix()))), "id_type");
    }
    assert_eq!(read_json(format!(r#"{{"id":-0,"fixes":[{}]}}"#, fix())).unwrap().message_id.as_deref(), Some("0"));
}

#[test]
fn a_device_has_1_to_128_characters_and_none_that_controls() {
    for name in ["7", "Lkw Grünwald 3", &"x".repeat(128), &"😀".repeat(128), "a/b \"c\" \\"] {
        assert_eq!(read_both(&json!({"device": name, "fixes": [fix()]})).unwrap().device.as_deref(), Some(name));
    }
    assert_eq!(read_both(&json!({"device": null, "fixes": [fix()]})).unwrap().device, None);
    for name in ["", "\0", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(129), &"😀".repeat(129), &"x".repeat(100_000)] {
        assert_eq!(read_both(&json!({"device": name, "fixes": [fix()]})), Err("device_name"), "{name:?}");
    }
}

#[test]
fn a_batch_ends_at_the_limit() {
    let fixes = |count: u32| Value::from(vec![fix(); count as usize]);
    assert_eq!(read_both(&fixes(MAX_FIXES)).unwrap().sent(), MAX_FIXES as usize);
    assert_eq!(read_both(&json!({"fixes": fixes(MAX_FIXES + 1)})), Err("batch_too_large"));
    // Refused fixes count, too, and what follows the limit is not even read.
    assert_eq!(code(&read_json("[".to_owned() + &"0,".repeat(100) + "0, no JSON")), "batch_too_large");
    assert_eq!(code(&read_json("[".to_owned() + &"0,".repeat(98) + "0, no JSON")), "json_syntax");
}

#[test]
fn every_code_of_the_catalogue_has_a_body_that_draws_it() {
    let deep = |open: &str, close: &str| open.repeat(100) + "0" + &close.repeat(100);
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("body_empty", b"".into()),
        ("body_empty", b" \r\n\t".into()),
        ("json_syntax", b"{".into()),
        ("json_syntax", b"nul".into()),
        ("json_syntax", b"[1,]".into()),
        ("json_syntax", b"[0] x".into()),
        ("json_syntax", b"[NaN]".into()),
        ("json_syntax", br#"{"latitude":NaN}"#.into()),
        ("json_syntax", br#"{"latitude":-Infinity}"#.into()),
        ("json_syntax", b"{\"x\":\"\xff\"}".into()),
        ("json_syntax", b"{\"\xff\":1}".into()),
        ("json_syntax", br#"{"device":"\ud800"}"#.into()),
        ("json_syntax", br#"{"x":["\udc00"]}"#.into()),
        ("json_syntax", b"{\"x\":\"a\nb\"}".into()),
        ("json_syntax", b"\xef\xbb\xbf[]".into()),
        ("json_depth", deep("[", "]").into()),
        ("json_depth", format!(r#"{{"x":{}}}"#, deep("{\"y\":", "}")).into()),
        ("batch_shape", b"{}".into()),
        ("batch_shape", b"5".into()),
        ("batch_shape", br#""fixes""#.into()),
        ("batch_shape", br#"{"device":"d","speed":3}"#.into()),
        ("fixes_type", br#"{"fixes":null}"#.into()),
        ("fixes_type", br#"{"fixes":{"timestamp":1},"timestamp":1}"#.into()),
        ("batch_empty", b"[]".into()),
        ("batch_empty", br#"{"device":"d","fixes":[]}"#.into()),
        ("batch_too_large", ("[".to_owned() + &"0,".repeat(100) + "0]").into()),
        ("device_type", br#"{"device":7,"fixes":[0]}"#.into()),
        ("device_name", br#"{"device":"","fixes":[0]}"#.into()),
        ("id_type", br#"{"id":1.5,"fixes":[0]}"#.into()),
        ("message_type", br#"{"type":"hello"}"#.into()),
        ("message_type", br#"{"type":false,"fixes":[0]}"#.into()),
    ];
    let mut drawn = BTreeSet::new();
    for (expected, body) in &bodies {
        let result = read_json(body);
        assert_eq!(code(&result), *expected, "{}", String::from_utf8_lossy(body));
        assert!(result.unwrap_err().offset_bytes.is_none_or(|offset_bytes| offset_bytes <= body.len()));
        drawn.insert(*expected);
    }
    for (expected, body) in [
        ("body_empty", b"".as_slice()),
        ("msgpack_syntax", b"\x92\x00"),
        ("msgpack_syntax", b"\xc1"),
        ("msgpack_syntax", b"\x91\x00\x00"),
        ("msgpack_syntax", b"\x81\xa6device\xa2\xff\xfe"),
        ("msgpack_syntax", b"\x81\xa1x\xc4\x05abcd"),
        ("msgpack_depth", &[0x91; 100]),
        ("batch_shape", b"\x05"),
        ("device_type", b"\x82\xa6device\xc4\x01d\xa5fixes\x91\x00"),
    ] {
        assert_eq!(code(&read_msgpack(body)), expected, "{body:x?}");
        drawn.insert(expected);
    }
    let catalogue: BTreeSet<&str> = BATCH_CATALOGUE.iter().map(|fault| fault.code()).collect();
    assert_eq!(drawn, catalogue);
}

#[test]
fn faults_of_an_envelope_are_told_in_one_order() {
    let all = json!({"type": 1, "id": [], "device": 5, "fixes": 3});
    let mut envelope = all.as_object().unwrap().clone();
    for (member, code) in
        [("type", "message_type"), ("id", "id_type"), ("device", "device_type"), ("fixes", "fixes_type")]
    {
        assert_eq!(read_both(&Value::Object(envelope.clone())), Err(code));
        envelope.remove(member);
    }
}

#[test]
fn an_error_names_the_byte() {
    let error = read_json(br#"{"fixes": [tru]}"#).unwrap_err();
    assert_eq!(error.to_string(), "The body is not valid JSON. Noticed at byte 14.");
    assert_eq!(read_json(b"[]").unwrap_err().to_string(), "The batch holds no fix.");
}

#[test]
fn a_clock_at_the_end_of_time_does_not_overflow() {
    let limits = Limits::new(1, i64::MAX, i64::MAX, i64::MIN);
    assert_eq!(json::decode(fix().to_string().as_bytes(), limits).unwrap().columns.len(), 1);
    assert!(NOW_MILLIS < limits.window.latest_millis);
}
