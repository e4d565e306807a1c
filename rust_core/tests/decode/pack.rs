//! JSON values as `MessagePack`, for the comparison of the two formats.

use rmp::encode;
use serde_json::Value;

pub(crate) fn pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    pack_into(&mut out, value);
    out
}

fn pack_into(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => encode::write_nil(out).unwrap(),
        Value::Bool(value) => encode::write_bool(out, *value).unwrap(),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), _, _) => drop(encode::write_uint(out, value).unwrap()),
            (_, Some(value), _) => drop(encode::write_sint(out, value).unwrap()),
            (_, _, value) => encode::write_f64(out, value.unwrap()).unwrap(),
        },
        Value::String(text) => encode::write_str(out, text).unwrap(),
        Value::Array(values) => {
            encode::write_array_len(out, u32::try_from(values.len()).unwrap()).unwrap();
            for value in values {
                pack_into(out, value);
            }
        }
        Value::Object(members) => {
            encode::write_map_len(out, u32::try_from(members.len()).unwrap()).unwrap();
            for (key, value) in members {
                encode::write_str(out, key).unwrap();
                pack_into(out, value);
            }
        }
    }
}
