//! A track as CSV (RFC 4180 quoting, lines end with LF): a header, then a line per fix, blank where a member is absent.
//!
//! For a spreadsheet, a name that it would take for a formula begins with an apostrophe; for a program, names are as they
//! are.

use std::borrow::Cow;

use crate::decimal::{push_int, push_scaled};
use crate::fix::{Fix, NONE_I16, NONE_I32};
use crate::frame::heading_cdeg;

#[derive(Debug)]
pub(super) struct Layout {
    /// The device's name as a field.
    name: Vec<u8>,
}

impl Layout {
    pub(super) fn new(device: &str, is_for_spreadsheet: bool) -> Self {
        Self { name: if is_for_spreadsheet { field(&without_formula(device)) } else { field(device) } }
    }

    #[expect(clippy::unused_self, reason = "each format has head, fix and tail")]
    pub(super) fn head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"device,ts_ms,lat,lon,alt_m,speed_mps,heading_deg,accuracy_m,battery\n");
    }

    pub(super) fn fix(&self, out: &mut Vec<u8>, fix: &Fix) {
        let small = |value: i16| (value != NONE_I16).then_some(i64::from(value));
        out.extend_from_slice(&self.name);
        out.push(b',');
        push_int(out, fix.fixed_at_millis);
        let fields = [
            (Some(fix.lat_e7.into()), 7),
            (Some(fix.lon_e7.into()), 7),
            ((fix.altitude_dm != NONE_I32).then_some(fix.altitude_dm.into()), 1),
            (small(fix.speed_cmps), 2),
            (heading_cdeg(fix), 2),
            (small(fix.accuracy_dm), 1),
            (small(fix.battery_permille), 3),
        ];
        for (value, places) in fields {
            out.push(b',');
            if let Some(value) = value {
                push_scaled(out, value, places);
            }
        }
        out.push(b'\n');
    }
}

/// The text behind an apostrophe, if a spreadsheet would take it for a formula (OWASP, CSV injection).
fn without_formula(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']) {
        format!("'{text}").into()
    } else {
        text.into()
    }
}

fn field(text: &str) -> Vec<u8> {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into_bytes()
    } else {
        text.as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_what_needs_it() {
        assert_eq!(field("truck 7"), b"truck 7");
        assert_eq!(field("a,\"b\"\n"), b"\"a,\"\"b\"\"\n\"");
    }

    #[test]
    fn a_spreadsheet_gets_no_formula_and_a_program_the_name() {
        assert_eq!(Layout::new("=HYPERLINK(\"x\")", true).name, b"\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(Layout::new("=1+1", false).name, b"=1+1");
        assert_eq!(Layout::new("van=1", true).name, b"van=1");
        for formula in ["+1", "-1", "@SUM(1)", "\t=1", "\u{ff1d}1"] {
            assert!(Layout::new(formula, true).name.starts_with(b"'"), "{formula}");
        }
    }

    #[test]
    fn absent_members_are_blank() {
        let fix = Fix {
            fixed_at_millis: 1_763_768_400_000,
            lat_e7: 481_371_540,
            lon_e7: 115_761_240,
            altitude_dm: NONE_I32,
            speed_cmps: 1_340,
            heading_cdeg: -8_900,
            accuracy_dm: NONE_I16,
            battery_permille: 800,
        };
        let mut out = Vec::new();
        Layout::new("a", false).fix(&mut out, &fix);
        assert_eq!(out, b"a,1763768400000,48.137154,11.576124,,13.4,271,,0.8\n");
    }
}
