//! Encodes batches as the JSON that a phone app sends.

use crate::trace::Fix;

/// Writes a batch with its envelope. `id` is for sockets, whose receipts contain it.
pub fn write_batch(into: &mut Vec<u8>, device: &str, id: Option<u64>, fixes: &[Fix]) {
    into.push(b'{');
    if let Some(id) = id {
        into.extend_from_slice(b"\"type\":\"batch\",\"id\":\"");
        write_digits(into, id, 0);
        into.extend_from_slice(b"\",");
    }
    into.extend_from_slice(b"\"device\":\"");
    into.extend_from_slice(device.as_bytes());
    into.extend_from_slice(b"\",\"fixes\":[");
    for (index, fix) in fixes.iter().enumerate() {
        if index > 0 {
            into.push(b',');
        }
        write_fix(into, fix);
    }
    into.extend_from_slice(b"]}");
}

fn write_fix(into: &mut Vec<u8>, fix: &Fix) {
    into.extend_from_slice(b"{\"timestamp\":");
    write_scaled(into, fix.fixed_at_millis, 0);
    into.extend_from_slice(b",\"latitude\":");
    write_scaled(into, fix.lat_e7.into(), 7);
    into.extend_from_slice(b",\"longitude\":");
    write_scaled(into, fix.lon_e7.into(), 7);
    into.extend_from_slice(b",\"accuracy\":");
    write_scaled(into, fix.accuracy_dm.into(), 1);
    into.extend_from_slice(b",\"altitude\":");
    write_scaled(into, fix.altitude_dm.into(), 1);
    into.extend_from_slice(b",\"heading\":");
    write_scaled(into, fix.heading_ddeg.into(), 1);
    into.extend_from_slice(b",\"speed\":");
    write_scaled(into, fix.speed_dmps.into(), 1);
    into.push(b'}');
}

/// Writes `value` / 10^`decimals` as a decimal number with that many decimals.
fn write_scaled(into: &mut Vec<u8>, value: i64, decimals: usize) {
    if value < 0 {
        into.push(b'-');
    }
    write_digits(into, value.unsigned_abs(), decimals);
}

fn write_digits(into: &mut Vec<u8>, mut value: u64, decimals: usize) {
    // 20 digits of a u64 and the point, filled from the end. `write!` would cost ten times as much.
    let mut text = [b'0'; 21];
    let mut start = text.len();
    // Zeros up to the digit before the point: 0.1, not .1.
    let least_place = if decimals > 0 { decimals + 1 } else { 0 };
    for (place, slot) in text.iter_mut().rev().enumerate() {
        if decimals > 0 && place == decimals {
            *slot = b'.';
        } else if value > 0 || place <= least_place {
            *slot = b'0' + u8::try_from(value % 10).unwrap_or_default();
            value /= 10;
        } else {
            break;
        }
        start -= 1;
    }
    into.extend_from_slice(text.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn scaled(value: i64, decimals: usize) -> String {
        let mut text = Vec::new();
        write_scaled(&mut text, value, decimals);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_are_written_as_json_has_them() {
        assert_eq!(scaled(0, 0), "0");
        assert_eq!(scaled(0, 1), "0.0");
        assert_eq!(scaled(5, 1), "0.5");
        assert_eq!(scaled(-5, 7), "-0.0000005");
        assert_eq!(scaled(481_371_540, 7), "48.1371540");
        assert_eq!(scaled(-1_234, 1), "-123.4");
        assert_eq!(scaled(1_763_768_400_000, 0), "1763768400000");
        assert_eq!(scaled(i64::MIN, 0), "-9223372036854775808");
    }

    #[test]
    fn a_batch_is_what_the_contract_says() {
        let fix = Fix {
            fixed_at_millis: 1_763_768_400_000,
            lat_e7: 481_371_540,
            lon_e7: -15_761_240,
            accuracy_dm: 50,
            altitude_dm: 5_190,
            heading_ddeg: 2_710,
            speed_dmps: 134,
        };
        let mut body = Vec::new();
        write_batch(&mut body, "truck-7", Some(41), &[fix, fix]);
        let one = json!({"timestamp": 1_763_768_400_000_u64, "latitude": 48.137_154, "longitude": -1.576_124,
            "accuracy": 5.0, "altitude": 519.0, "heading": 271.0, "speed": 13.4});
        let expected = json!({"type": "batch", "id": "41", "device": "truck-7", "fixes": [one, one]});
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn a_batch_of_fifty_weighs_as_much_as_a_phones() {
        let fix = Fix {
            fixed_at_millis: 1_763_768_400_000,
            lat_e7: 481_371_540,
            lon_e7: 115_761_240,
            accuracy_dm: 50,
            altitude_dm: 5_190,
            heading_ddeg: 2_710,
            speed_dmps: 134,
        };
        let mut body = Vec::new();
        write_batch(&mut body, "truck-00007", None, &[fix; 50]);
        assert!((6_400..6_900).contains(&body.len()), "{}", body.len());
    }
}
