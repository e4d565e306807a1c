//! A track as a `GeoJSON` `FeatureCollection` of Points in order of time.

use super::iso_time::IsoTime;
use crate::fix::Fix;
use crate::frame::{Name, push_feature};

#[derive(Debug)]
pub(super) struct Layout {
    name: Name,
    time: IsoTime,
}

impl Layout {
    pub(super) fn new(device: &str) -> Self {
        Self { name: Name::new(device), time: IsoTime::new() }
    }

    #[expect(clippy::unused_self, reason = "each format has head, fix and tail")]
    pub(super) fn head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"FeatureCollection","features":["#);
    }

    /// One feature per line, so that a long track can be read by eye and by line.
    pub(super) fn fix(&mut self, out: &mut Vec<u8>, fix: &Fix, is_first: bool) {
        out.extend_from_slice(if is_first { b"\n" } else { b",\n" });
        push_feature(out, &self.name, fix, |out| {
            out.extend_from_slice(br#","time":""#);
            self.time.push(out, fix.fixed_at_millis);
            out.push(b'"');
        });
    }

    #[expect(clippy::unused_self, reason = "each format has head, fix and tail")]
    pub(super) fn tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\n]}\n");
    }
}
