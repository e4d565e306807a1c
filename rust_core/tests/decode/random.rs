//! Properties over random input.

use std::fmt::Write as _;

use fleetwire_core::batch::Batch;
use fleetwire_core::decode::BatchError;
use fleetwire_core::fix::{EARLIEST_MILLIS, Fix, NONE_I16, NONE_I32};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use crate::{NOW_MILLIS, code, pack, read_both, read_json, read_msgpack};

prop_compose! {
    fn any_fix()(
        fixed_at_millis in EARLIEST_MILLIS..=NOW_MILLIS,
        lat_e7 in -900_000_000..=900_000_000,
        lon_e7 in -1_800_000_000..=1_800_000_000,
        altitude_dm in prop_oneof![Just(NONE_I32), -120_000..=1_000_000],
        speed_cmps in prop_oneof![Just(NONE_I16), 0_i16..=32_700],
        heading_cdeg in prop_oneof![Just(NONE_I16), -18_000_i16..=17_999],
        accuracy_dm in prop_oneof![Just(NONE_I16), 0_i16..=32_767],
        battery_permille in prop_oneof![Just(NONE_I16), 0_i16..=1000],
    ) -> Fix {
        Fix {
            fixed_at_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm, battery_permille,
        }
    }
}

fn encode(fix: &Fix) -> Value {
    let mut out = json!({
        "timestamp": fix.fixed_at_millis,
        "latitude": f64::from(fix.lat_e7) / 1e7,
        "longitude": f64::from(fix.lon_e7) / 1e7,
    });
    let narrow = |value: i16| (value != NONE_I16).then_some(f64::from(value));
    let heading_deg = narrow(fix.heading_cdeg).map(|cdeg| if cdeg < 0.0 { cdeg + 36_000.0 } else { cdeg } / 100.0);
    for (member, value) in [
        ("altitude", (fix.altitude_dm != NONE_I32).then_some(f64::from(fix.altitude_dm) / 10.0)),
        ("speed", narrow(fix.speed_cmps).map(|cmps| cmps / 100.0)),
        ("heading", heading_deg),
        ("accuracy", narrow(fix.accuracy_dm).map(|dm| dm / 10.0)),
        ("battery", narrow(fix.battery_permille).map(|permille| permille / 1000.0)),
    ] {
        if let Some(value) = value {
            out[member] = json!(value);
        }
    }
    out
}

/// Values that a sender might put anywhere.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200.0..200.0).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (EARLIEST_MILLIS..=NOW_MILLIS).prop_map(Value::from),
        select(vec!["batch", "2025-11-21T23:40:00Z", "2025-11-21T23:40:00", "", "\0", "truck-7"]).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..8).prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known = vec![
        "fixes",
        "device",
        "id",
        "type",
        "timestamp",
        "latitude",
        "longitude",
        "accuracy",
        "altitude",
        "heading",
        "speed",
        "battery",
    ];
    prop_oneof![9 => select(known).prop_map(str::to_owned), 1 => ".{0,4}"]
}

fn points_into(result: &Result<Batch, BatchError>, body: &[u8]) -> bool {
    !matches!(result, Err(BatchError { offset_bytes: Some(offset_bytes), .. }) if *offset_bytes > body.len())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(fixes in prop::collection::vec(any_fix(), 1..60), device in "[a-zä]{1,20}") {
        let encoded: Vec<Value> = fixes.iter().map(encode).collect();
        let batch = read_both(&json!({"device": device, "fixes": encoded})).unwrap();
        let decoded: Vec<Fix> = (0..fixes.len()).map(|index| batch.columns.get(index).unwrap()).collect();
        prop_assert_eq!(decoded, fixes);
        prop_assert_eq!(batch.rejects, []);
    }

    #[test]
    fn both_formats_agree_and_account_for_every_fix(value in any_value()) {
        let sent = value.get("fixes").unwrap_or(&value).as_array().map_or(1, Vec::len);
        if let Ok(batch) = read_both(&value) {
            prop_assert_eq!(batch.sent(), sent);
            prop_assert!(batch.rejects.is_sorted_by(|left, right| left.index < right.index));
            prop_assert!(batch.rejects.iter().all(|reject| (reject.index as usize) < sent));
        }
    }

    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        for result in [read_json(&body), read_msgpack(&body)] {
            prop_assert!(points_into(&result, &body));
        }
    }

    #[test]
    fn damaged_batches_never_panic(
        fixes in prop::collection::vec(any_fix(), 1..4),
        wounds in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
        is_cut in any::<bool>(),
    ) {
        let encoded: Vec<Value> = fixes.iter().map(encode).collect();
        let value = json!({"device": "truck-7", "id": 41, "type": "batch", "fixes": encoded, "x": [{"y": "\\ud83d"}]});
        let [mut json, mut msgpack] = [value.to_string().into_bytes(), pack::pack(&value)];
        for body in [&mut json, &mut msgpack] {
            for (place, byte) in &wounds {
                let place = place.index(body.len());
                body[place] = *byte;
            }
            if is_cut {
                body.truncate(cut.index(body.len()));
            }
        }
        for (result, body) in [(read_json(&json), json), (read_msgpack(&msgpack), msgpack)] {
            prop_assert!(points_into(&result, &body));
            if wounds.is_empty() && is_cut {
                prop_assert!(["body_empty", "json_syntax", "msgpack_syntax"].contains(&code(&result)), "{:?}", result);
            }
            if let Ok(batch) = result {
                prop_assert!(batch.sent() > 0);
            }
        }
    }

    #[test]
    fn numbers_are_read_as_the_standard_library_reads_them(
        number in prop_oneof!["-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", "[-+.0-9eE]{1,10}", "-?[0-9]{1,2}\\.[0-9]{1,15}"],
    ) {
        let mut body = String::new();
        write!(body, r#"[{{"timestamp":1763768400000,"latitude":{number},"longitude":0}}]"#).unwrap();
        let result = read_json(&body);
        // serde_json knows the grammar, but stops at once where a number becomes too large for a double.
        let is_number = match serde_json::from_str::<Value>(&number) {
            Ok(_) => true,
            Err(error) => error.to_string().starts_with("number out of range") && number.parse::<f64>().is_ok(),
        };
        if !is_number {
            prop_assert_eq!(code(&result), "json_syntax");
            return Ok(());
        }
        let batch = result.unwrap();
        let latitude: f64 = number.parse().unwrap();
        if latitude.abs() <= 90.0 {
            #[expect(clippy::cast_possible_truncation, reason = "within 90e7")]
            let lat_e7 = (latitude * 1e7).round() as i32;
            prop_assert_eq!(batch.columns.lat_e7, [lat_e7]);
        } else {
            let code = if latitude.is_finite() { "latitude_range" } else { "latitude_not_finite" };
            prop_assert_eq!(batch.rejects.first().unwrap().code(), code);
        }
    }
}
