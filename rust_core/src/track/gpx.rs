//! A track as GPX 1.1: one `trk` of one `trkseg`.
//!
//! GPX 1.1 has no element for speed and course, so they stand in `extensions` under a namespace of our own, in metres
//! per second and degrees.

use super::iso_time::IsoTime;
use crate::decimal::push_scaled;
use crate::fix::{Fix, NONE_I16, NONE_I32};
use crate::frame::heading_cdeg;

#[derive(Debug)]
pub(super) struct Layout {
    /// The device's name as XML text.
    name: Vec<u8>,
    time: IsoTime,
}

impl Layout {
    pub(super) fn new(device: &str) -> Self {
        Self { name: escaped(device), time: IsoTime::new() }
    }

    pub(super) fn head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            concat!(
                r#"<?xml version="1.0" encoding="UTF-8"?>"#,
                "\n",
                r#"<gpx version="1.1" creator="Fleetwire" xmlns="http://www.topografix.com/GPX/1/1""#,
                r#" xmlns:fw="urn:fleetwire:gpx:1"><trk><name>"#
            )
            .as_bytes(),
        );
        out.extend_from_slice(&self.name);
        out.extend_from_slice(b"</name><trkseg>\n");
    }

    pub(super) fn fix(&mut self, out: &mut Vec<u8>, fix: &Fix) {
        out.extend_from_slice(br#"<trkpt lat=""#);
        push_scaled(out, fix.lat_e7.into(), 7);
        out.extend_from_slice(br#"" lon=""#);
        // GPX allows -180 up to but not including 180.
        let lon_e7 = if fix.lon_e7 == 1_800_000_000 { -1_800_000_000 } else { fix.lon_e7 };
        push_scaled(out, lon_e7.into(), 7);
        out.extend_from_slice(br#"">"#);
        if fix.altitude_dm != NONE_I32 {
            push_element(out, "ele", fix.altitude_dm.into(), 1);
        }
        out.extend_from_slice(b"<time>");
        self.time.push(out, fix.fixed_at_millis);
        out.extend_from_slice(b"</time>");
        let course = heading_cdeg(fix);
        if fix.speed_cmps != NONE_I16 || course.is_some() {
            out.extend_from_slice(b"<extensions>");
            if fix.speed_cmps != NONE_I16 {
                push_element(out, "fw:speed", fix.speed_cmps.into(), 2);
            }
            if let Some(course) = course {
                push_element(out, "fw:course", course, 2);
            }
            out.extend_from_slice(b"</extensions>");
        }
        out.extend_from_slice(b"</trkpt>\n");
    }

    #[expect(clippy::unused_self, reason = "each format has head, fix and tail")]
    pub(super) fn tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"</trkseg></trk></gpx>\n");
    }
}

fn push_element(out: &mut Vec<u8>, tag: &str, value: i64, places: u32) {
    for text in ["<", tag, ">"] {
        out.extend_from_slice(text.as_bytes());
    }
    push_scaled(out, value, places);
    for text in ["</", tag, ">"] {
        out.extend_from_slice(text.as_bytes());
    }
}

/// XML text; characters that XML 1.0 cannot hold, not even escaped, become U+FFFD.
fn escaped(text: &str) -> Vec<u8> {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A bare carriage return would be read as a line feed.
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(letter),
            '\0'..' ' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_xml_text() {
        assert_eq!(escaped("<b> & \"c\"\u{1}\r\n"), "&lt;b&gt; &amp; \"c\"\u{fffd}&#13;\n".as_bytes());
    }

    #[test]
    fn a_point_has_its_elements_in_the_order_of_the_schema() {
        let fix = Fix {
            fixed_at_millis: 1_763_768_400_000,
            lat_e7: 481_371_540,
            lon_e7: 1_800_000_000,
            altitude_dm: 5_190,
            speed_cmps: 1_340,
            heading_cdeg: -8_900,
            accuracy_dm: 50,
            battery_permille: NONE_I16,
        };
        let mut out = Vec::new();
        Layout::new("a").fix(&mut out, &fix);
        let expected = concat!(
            r#"<trkpt lat="48.137154" lon="-180"><ele>519</ele><time>2025-11-21T23:40:00.000Z</time>"#,
            "<extensions><fw:speed>13.4</fw:speed><fw:course>271</fw:course></extensions></trkpt>\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
