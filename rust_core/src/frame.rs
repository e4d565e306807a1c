//! Positions as JSON: a feed's `snapshot` and `moved` frames, and `GeoJSON`.
//!
//! Members a sender left out are left out here. Device names come as JSON text, escaped once by `quoted` when the
//! device became known.

use crate::decimal::{push_int, push_scaled};
use crate::fix::{Fix, NONE_I16, NONE_I32};
use crate::receipt::push_json_text;

/// A position with all members, and the device's name; for the first allocation only.
const POSITION_BYTES: usize = 192;

/// A `snapshot` frame.
pub fn snapshot<'a>(epoch: &str, seq: u64, positions: impl Iterator<Item = (&'a [u8], &'a Fix)>) -> Vec<u8> {
    let mut out = Vec::with_capacity(positions.size_hint().1.unwrap_or(1) * POSITION_BYTES);
    out.extend_from_slice(br#"{"type":"snapshot","epoch":"#);
    out.extend_from_slice(&quoted(epoch));
    push_positions(&mut out, seq, positions);
    out
}

/// A `moved` frame.
pub fn moved<'a>(seq: u64, positions: impl Iterator<Item = (&'a [u8], &'a Fix)>) -> Vec<u8> {
    let mut out = br#"{"type":"moved""#.to_vec();
    push_positions(&mut out, seq, positions);
    out
}

/// A `GeoJSON` `FeatureCollection` of Points.
pub fn geojson<'a>(positions: impl Iterator<Item = (&'a [u8], &'a Fix)>) -> Vec<u8> {
    let mut out = br#"{"type":"FeatureCollection","features":["#.to_vec();
    for (place, (name, fix)) in positions.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_feature(&mut out, name, fix, |_| ());
    }
    out.extend_from_slice(b"]}");
    out
}

/// Appends a `GeoJSON` Feature; `more` may add properties behind the timestamp, each with a comma before it.
pub fn push_feature(out: &mut Vec<u8>, name: &[u8], fix: &Fix, more: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(br#"{"type":"Feature","geometry":{"type":"Point","coordinates":["#);
    push_scaled(out, fix.lon_e7.into(), 7);
    out.push(b',');
    push_scaled(out, fix.lat_e7.into(), 7);
    if fix.altitude_dm != NONE_I32 {
        out.push(b',');
        push_scaled(out, fix.altitude_dm.into(), 1);
    }
    out.extend_from_slice(br#"]},"properties":{"device":"#);
    out.extend_from_slice(name);
    out.extend_from_slice(br#","timestamp":"#);
    push_int(out, fix.fixed_at_millis);
    more(out);
    push_optional(out, fix);
    out.extend_from_slice(b"}}");
}

/// JSON text of a string, with its quotes.
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = String::with_capacity(text.len() + 2);
    push_json_text(&mut out, text);
    out.into_bytes()
}

/// 0 up to 360 degrees, in 0.01 degrees: how a stored heading is shown.
pub fn heading_cdeg(fix: &Fix) -> Option<i64> {
    (fix.heading_cdeg != NONE_I16).then(|| i64::from(fix.heading_cdeg).rem_euclid(36_000))
}

fn push_positions<'a>(out: &mut Vec<u8>, seq: u64, positions: impl Iterator<Item = (&'a [u8], &'a Fix)>) {
    out.extend_from_slice(br#","seq":"#);
    push_int(out, i64::try_from(seq).unwrap_or(i64::MAX));
    out.extend_from_slice(br#","positions":["#);
    for (place, (name, fix)) in positions.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"device":"#);
        out.extend_from_slice(name);
        out.extend_from_slice(br#","timestamp":"#);
        push_int(out, fix.fixed_at_millis);
        out.extend_from_slice(br#","latitude":"#);
        push_scaled(out, fix.lat_e7.into(), 7);
        out.extend_from_slice(br#","longitude":"#);
        push_scaled(out, fix.lon_e7.into(), 7);
        push_optional(out, fix);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// The members a sender may leave out, in the order of the wire.
fn push_optional(out: &mut Vec<u8>, fix: &Fix) {
    let small = |value: i16| (value != NONE_I16).then_some(i64::from(value));
    let altitude = (fix.altitude_dm != NONE_I32).then_some(i64::from(fix.altitude_dm));
    let members: [(&[u8], Option<i64>, u32); 5] = [
        (br#","accuracy":"#, small(fix.accuracy_dm), 1),
        (br#","altitude":"#, altitude, 1),
        (br#","heading":"#, heading_cdeg(fix), 2),
        (br#","speed":"#, small(fix.speed_cmps), 2),
        (br#","battery":"#, small(fix.battery_permille), 3),
    ];
    for (name, value, places) in members {
        if let Some(value) = value {
            out.extend_from_slice(name);
            push_scaled(out, value, places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Fix = Fix {
        fixed_at_millis: 1_763_768_400_000,
        lat_e7: 481_371_540,
        lon_e7: 115_761_240,
        altitude_dm: 5_190,
        speed_cmps: 1_340,
        heading_cdeg: -8_900,
        accuracy_dm: 50,
        battery_permille: 800,
    };
    const BARE: Fix = Fix {
        altitude_dm: NONE_I32,
        speed_cmps: NONE_I16,
        heading_cdeg: NONE_I16,
        accuracy_dm: NONE_I16,
        battery_permille: NONE_I16,
        ..FULL
    };

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn frames_are_spelt_as_the_contract_has_them() {
        let name = quoted("truck-7");
        assert_eq!(
            text(moved(1, [(name.as_slice(), &FULL)].into_iter())),
            concat!(
                r#"{"type":"moved","seq":1,"positions":[{"device":"truck-7","timestamp":1763768400000,"latitude":48.137154,"#,
                r#""longitude":11.576124,"accuracy":5,"altitude":519,"heading":271,"speed":13.4,"battery":0.8}]}"#
            )
        );
        assert_eq!(
            text(snapshot("e\"1", 0, [(name.as_slice(), &BARE)].into_iter())),
            concat!(
                r#"{"type":"snapshot","epoch":"e\"1","seq":0,"positions":[{"device":"truck-7","timestamp":1763768400000,"#,
                r#""latitude":48.137154,"longitude":11.576124}]}"#
            )
        );
    }

    #[test]
    fn geojson_is_a_collection_of_points() {
        let name = quoted("a");
        assert_eq!(text(geojson(std::iter::empty())), r#"{"type":"FeatureCollection","features":[]}"#);
        assert_eq!(
            text(geojson([(name.as_slice(), &BARE)].into_iter())),
            concat!(
                r#"{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":"#,
                r#"[11.576124,48.137154]},"properties":{"device":"a","timestamp":1763768400000}}]}"#
            )
        );
    }

    #[test]
    fn any_text_is_a_json_string() {
        for sample in ["", "truck-7", "a\"b\\c/d", "\0\u{1}\n\u{1f}\u{7f}", "Zürich \u{2028} \u{1f69a}"] {
            assert_eq!(serde_json::from_slice::<String>(&quoted(sample)).unwrap(), sample);
        }
    }
}
