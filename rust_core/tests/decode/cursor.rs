//! The short cut and the general reader: whatever the one reads, the other reads the same.

use fleetwire_core::batch::Batch;
use fleetwire_core::decode::{cursor, json};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::limits;

const MEMBERS: [&str; 8] =
    ["timestamp", "latitude", "longitude", "accuracy", "altitude", "heading", "speed", "battery"];

/// What the cursor says, which must be what the general reader says, or nothing.
fn shortcut(body: &[u8]) -> Option<Batch> {
    let batch = cursor::decode(body, limits())?;
    assert_eq!(json::decode_any(body, limits()), Ok(batch.clone()), "{}", body.escape_ascii());
    Some(batch)
}

#[test]
fn what_the_usual_writers_write_is_read_at_once() {
    for (body, sent) in [
        // Python's json, orjson, a browser, and one that was told to be pretty.
        (
            r#"{"type": "batch", "id": 41, "device": "truck-7", "fixes": [{"timestamp": 1763768400000, "latitude": 48.137154, "longitude": 11.576124, "accuracy": 5.0, "altitude": 519.0, "heading": 271.0, "speed": 13.4, "battery": 0.8}, {"timestamp": 1763768401000.25, "latitude": -1e-07, "longitude": 1.2345678901234567e-05}]}"#,
            2,
        ),
        (
            r#"{"device":"größe-7","fixes":[{"latitude":48.137154,"longitude":-11.57612412345678,"timestamp":1763768400000,"speed":0}],"id":"b-1"}"#,
            1,
        ),
        (
            r#"[{"timestamp":1763768400000,"latitude":48.13715400000001,"longitude":11.576123999999999,"altitude":null,"heading":null,"speed":null,"accuracy":35}]"#,
            1,
        ),
        (
            "\n[\r\n\t{\n  \"timestamp\" : \"2025-11-21T23:40:00.123Z\",\n  \"latitude\": 1,\n  \"longitude\": 1E1\n  }\n]\n",
            1,
        ),
        (r#"{"timestamp":1763768400000,"latitude":90,"longitude":-180.0,"device":"x","id":-9223372036854775808}"#, 1),
        // Faults of single fixes come from the same check.
        (
            r#"[{"timestamp":17,"latitude":0,"longitude":0},{"speed":-1},{"timestamp":"today","latitude":91,"longitude":0}]"#,
            3,
        ),
        (r#"[{"timestamp":null,"latitude":1e999,"longitude":-0.0}]"#, 1),
    ] {
        let batch = shortcut(body.as_bytes()).unwrap_or_else(|| panic!("given up: {body}"));
        assert_eq!(batch.sent(), sent, "{body}");
    }
}

#[test]
fn anything_else_is_left_to_the_general_reader() {
    let good = r#"{"device":"truck-7","fixes":[{"timestamp":1763768400000,"latitude":48,"longitude":11}]}"#;
    assert!(shortcut(good.as_bytes()).is_some());
    for (old, new) in [
        ("truck-7", "truck\\u002d7"),
        ("truck-7", "truck\t7"),
        ("\"truck-7\"", "null"),
        ("\"truck-7\"", "\"\""),
        ("\"truck-7\"", "7"),
        ("\"fixes\"", "\"device\":\"again\",\"fixes\""),
        ("\"device\"", "\"vehicle\""),
        ("\"device\"", "\"type\":\"batches\",\"device\""),
        ("\"device\"", "\"id\":1.5,\"device\""),
        ("\"device\"", "\"id\":18446744073709551616,\"device\""),
        ("latitude", "lat"),
        ("latitude", "lat\\u0069tude"),
        ("\"longitude\"", "\"latitude\":48,\"longitude\""),
        ("\"longitude\"", "\"x\":1,\"longitude\""),
        ("48", "048"),
        ("48", "-048.0"),
        ("48", "+48"),
        ("48", "48."),
        ("48", ".48"),
        ("48", "48e"),
        ("48", "48e+"),
        ("48", "-"),
        ("48", "4 8"),
        ("48", "0x30"),
        ("48", "NaN"),
        ("48", "Infinity"),
        ("48", "true"),
        ("48", "nul"),
        ("48", "\"48\""),
        ("48", "[48]"),
        ("48", ""),
        ("11}", "11,}"),
        ("}]", "},]"),
        ("}]}", "}]}}"),
        ("}]}", "}]"),
        ("}]}", "}]} x"),
        ("[{", "[1,{"),
        ("[{", "[{},{"),
        ("[{", "{\"x\":{"),
        (":[", ": \u{a0}["),
    ] {
        let body = good.replacen(old, new, 1);
        assert_ne!(body, good);
        assert_eq!(cursor::decode(body.as_bytes(), limits()), None, "{body}");
    }
    for body in ["", " ", "[]", "{}", "7", "null", "[", "{", r#"{"fixes":[]}"#, r#"{"device":"truck-7"}"#, "\u{feff}[]"]
    {
        assert_eq!(cursor::decode(body.as_bytes(), limits()), None, "{body}");
    }
    let not_utf8: Vec<u8> = good.bytes().map(|byte| if byte == b'k' { 0xff } else { byte }).collect();
    assert_eq!(cursor::decode(&not_utf8, limits()), None);
}

#[test]
fn a_full_batch_is_read_and_one_more_is_left_to_the_general_reader() {
    let fix = r#"{"timestamp":1763768400000,"latitude":48,"longitude":11}"#;
    assert!(shortcut(format!("[{}]", vec![fix; 100].join(",")).as_bytes()).is_some());
    assert!(shortcut(format!("[{}]", vec![fix; 101].join(",")).as_bytes()).is_none());
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "-?[0-9]{1,2}\\.[0-9]{1,17}",
        4 => "[0-9]{1,3}(\\.[0-9]{1,3})?",
        2 => "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        1 => (-180.0..180.0).prop_map(|value: f64| value.to_string()),
        1 => select(vec!["-0.0", "0", "-0", "1e2", "1E-2", "00", "01.5", "-", "1.", "1e", "9007199254740993", "0e400"])
            .prop_map(str::to_owned),
    ]
}

fn any_time() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (1_763_000_000_000_i64..1_763_769_000_000).prop_map(|millis| millis.to_string()),
        2 => "17637[0-9]{8}\\.[0-9]{1,9}",
        2 => "\"2025-1[01]-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|\\+01:00|)\"",
        1 => any_number(),
    ]
}

fn any_fix() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let rare = prop_oneof![
        30 => Just(None),
        1 => select(vec!["null", "true", "\"x\"", "\"2\"", "[1]", "{}", "NaN", ""]).prop_map(Some),
    ];
    let value = move |member| {
        let number = if member == "timestamp" { any_time().boxed() } else { any_number().boxed() };
        (Just(member), number, rare.clone())
            .prop_map(|(member, number, rare)| (member, rare.map_or(number, str::to_owned)))
    };
    let required = [value("timestamp"), value("latitude"), value("longitude")];
    // Sometimes with a key twice or a key nobody knows.
    let stranger = prop_oneof![12 => Just(vec![]), 1 => Just(vec!["speed"]), 1 => Just(vec!["satellites"])];
    let optional = (subsequence(MEMBERS[3..].to_vec(), 0..=5), stranger)
        .prop_flat_map(move |(members, stranger)| members.into_iter().chain(stranger).map(&value).collect::<Vec<_>>());
    (required, optional)
        .prop_map(|(required, optional)| required.into_iter().chain(optional).collect::<Vec<_>>())
        .prop_shuffle()
}

/// The space around brackets, after a comma, and around a colon.
fn any_style() -> impl Strategy<Value = [&'static str; 3]> {
    select(vec![["", ",", ":"], ["", ", ", ": "], ["\n  ", ",\n\t", " : "], [" ", " ,\r\n", ":"]])
}

fn write_fix(fix: &[(&str, String)], [around, comma, colon]: [&str; 3]) -> String {
    let members: Vec<String> = fix.iter().map(|(member, value)| format!("\"{member}\"{colon}{value}")).collect();
    format!("{{{around}{}{around}}}", members.join(comma))
}

prop_compose! {
    fn any_body()(
        fixes in vec(any_fix(), 0..6),
        style in any_style(),
        head in select(vec![
            None, Some(""), Some("\"device\":\"truck-7\""), Some("\"id\" : 7"), Some("\"type\":\"batch\",\"id\":\"ä\\\\\""),
            Some("\"id\":0.5"), Some("\"device\": \"größe\""), Some("\"speed\":1"), Some("\"fixes\":[]"),
        ]),
        is_last in any::<bool>(),
    ) -> String {
        let fixes: Vec<String> = fixes.iter().map(|fix| write_fix(fix, style)).collect();
        let fixes = format!("[{}{}{}]", style[0], fixes.join(style[1]), style[0]);
        match head {
            None => fixes,
            Some("") => format!("{{\"fixes\"{}{fixes}}}", style[2]),
            Some(head) if is_last => format!("{{\"fixes\"{}{fixes}{}{head}}}", style[2], style[1]),
            Some(head) => format!("{{{head}{}\"fixes\"{}{fixes}}}", style[1], style[2]),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn both_read_the_same(body in any_body()) {
        shortcut(body.as_bytes());
    }

    #[test]
    fn both_read_a_single_fix_the_same(fix in any_fix(), style in any_style()) {
        shortcut(write_fix(&fix, style).as_bytes());
    }

    #[test]
    fn plain_numbers_in_any_order_are_read_at_once(
        members in Just(MEMBERS.to_vec()).prop_shuffle(),
        values in vec("-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", 8),
        style in any_style(),
    ) {
        let fix: Vec<_> = members.into_iter().zip(values).collect();
        let fix = write_fix(&fix, style);
        let body = format!("[{fix},{fix}]");
        prop_assert!(shortcut(body.as_bytes()).is_some());
    }

    #[test]
    fn both_read_damaged_bytes_the_same(
        body in any_body(),
        wounds in vec((any::<Index>(), prop_oneof![any::<u8>(), select(b"{}[]\",:\\ 0123456789-+.eE".to_vec())]), 1..4),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut body = body.into_bytes();
        for (place, byte) in wounds {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        shortcut(&body);
    }
}
