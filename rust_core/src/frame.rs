//! Positions as bytes: a feed's frames in three formats, and `GeoJSON`.
//!
//! A frame is one or several messages of at most about `MESSAGE_BYTES`. All but the last say that more follow; each can
//! be read by itself.

mod json;
mod protobuf;

use crate::decimal::{push_int, push_scaled};
use crate::fix::{Fix, NONE_I16, NONE_I32};
use crate::receipt::push_json_text;

/// What a message holds at most, apart from one position with the longest name: a server that has to send messages of
/// several hundred KB to a thousand sockets four times a second loses some of them.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// How a watcher wants its positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text, an object for each position.
    Json,
    /// Text, a row for each position.
    Rows,
    /// Columns, as in `proto/feed.proto`.
    Protobuf,
}

/// What kind of frame it is.
#[derive(Clone, Copy, Debug)]
pub enum Head<'a> {
    /// Everything, for whoever begins.
    Snapshot {
        /// What `seq` belongs to.
        epoch: &'a str,
        /// The tick it shows.
        seq: u64,
    },
    /// What changed since a tick.
    Moved {
        /// The tick it shows.
        seq: u64,
    },
}

/// A device's name, looked at once for what JSON must escape.
#[derive(Clone, Debug)]
pub struct Name {
    text: Box<str>,
    /// Whether the text is JSON's text as well.
    is_plain: bool,
}

/// A device in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its number.
    pub device_id: i64,
    /// Its name.
    pub name: &'a Name,
    /// Where it is.
    pub fix: &'a Fix,
    /// Whether watchers of this frame may not know its name yet.
    pub is_new: bool,
}

/// A device that a frame takes away.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// Its number.
    pub device_id: i64,
    /// Its name.
    pub name: &'a Name,
}

impl Name {
    /// A name as it was sent.
    pub fn new(text: &str) -> Self {
        let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        Self { text: text.into(), is_plain }
    }

    /// The name as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn push_json(&self, out: &mut Vec<u8>) {
        if self.is_plain {
            out.push(b'"');
            out.extend_from_slice(self.text.as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(&quoted(&self.text));
        }
    }
}

/// The messages of a frame. A snapshot has one at least; a `moved` frame that says nothing has none.
pub fn render<'a>(
    format: Format,
    head: Head<'_>,
    rows: impl Iterator<Item = Row<'a>>,
    left: impl Iterator<Item = Left<'a>>,
) -> Vec<Vec<u8>> {
    match format {
        Format::Json => json::render(json::Shape::Objects, head, rows, left),
        Format::Rows => json::render(json::Shape::Rows, head, rows, left),
        Format::Protobuf => protobuf::render(head, rows, left),
    }
}

/// A `GeoJSON` `FeatureCollection` of Points.
pub fn geojson<'a>(positions: impl Iterator<Item = (&'a Name, &'a Fix)>) -> Vec<u8> {
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
pub fn push_feature(out: &mut Vec<u8>, name: &Name, fix: &Fix, more: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(br#"{"type":"Feature","geometry":{"type":"Point","coordinates":["#);
    push_scaled(out, fix.lon_e7.into(), 7);
    out.push(b',');
    push_scaled(out, fix.lat_e7.into(), 7);
    if fix.altitude_dm != NONE_I32 {
        out.push(b',');
        push_scaled(out, fix.altitude_dm.into(), 1);
    }
    out.extend_from_slice(br#"]},"properties":{"device":"#);
    name.push_json(out);
    out.extend_from_slice(br#","timestamp":"#);
    push_int(out, fix.fixed_at_millis);
    more(out);
    json::push_optional(out, fix);
    out.extend_from_slice(b"}}");
}

/// 0 up to 360 degrees, in 0.01 degrees: how a stored heading is shown.
pub fn heading_cdeg(fix: &Fix) -> Option<i64> {
    (fix.heading_cdeg != NONE_I16).then(|| i64::from(fix.heading_cdeg).rem_euclid(36_000))
}

/// JSON text of a string, with its quotes.
fn quoted(text: &str) -> Vec<u8> {
    let mut out = String::with_capacity(text.len() + 2);
    push_json_text(&mut out, text);
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: Fix = Fix {
        fixed_at_millis: 1_763_768_400_000,
        lat_e7: 481_371_540,
        lon_e7: 115_761_240,
        altitude_dm: NONE_I32,
        speed_cmps: NONE_I16,
        heading_cdeg: NONE_I16,
        accuracy_dm: NONE_I16,
        battery_permille: NONE_I16,
    };

    #[test]
    fn geojson_is_a_collection_of_points() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(geojson(std::iter::empty())), r#"{"type":"FeatureCollection","features":[]}"#);
        assert_eq!(
            text(geojson([(&Name::new("a"), &BARE)].into_iter())),
            concat!(
                r#"{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":"#,
                r#"[11.576124,48.137154]},"properties":{"device":"a","timestamp":1763768400000}}]}"#
            )
        );
    }

    #[test]
    fn any_name_is_a_json_string() {
        for sample in ["", "truck-7", "a\"b\\c/d", "\0\u{1}\n\u{1f}\u{7f}", "Zürich \u{2028} \u{1f69a}"] {
            let mut out = Vec::new();
            Name::new(sample).push_json(&mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), sample);
        }
    }
}
