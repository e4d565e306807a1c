//! Times as ISO 8601 text in UTC with milliseconds.

use jiff::Timestamp;

use crate::fix::DAY_MILLIS;

/// Writes times. A track stays on one day for thousands of fixes, so the date is made once per day.
#[derive(Debug)]
pub(super) struct IsoTime {
    day: i64,
    /// As in `2025-11-21`; empty before the first time.
    date: String,
}

impl IsoTime {
    pub(super) const fn new() -> Self {
        Self { day: 0, date: String::new() }
    }

    /// Appends as in `2025-11-21T23:40:00.250Z`.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, millis: i64) {
        let day = millis.div_euclid(DAY_MILLIS);
        if day != self.day || self.date.is_empty() {
            self.day = day;
            // Stored times are far within jiff's years -9999 to 9999; beyond them the nearest end stands.
            let start = Timestamp::from_millisecond(day.saturating_mul(DAY_MILLIS));
            let start = start.unwrap_or(if day < 0 { Timestamp::MIN } else { Timestamp::MAX });
            self.date = start.strftime("%Y-%m-%d").to_string();
        }
        out.extend_from_slice(self.date.as_bytes());
        let millis = millis.rem_euclid(DAY_MILLIS).cast_unsigned();
        push_digits(out, b'T', millis / 3_600_000, 2);
        push_digits(out, b':', millis / 60_000 % 60, 2);
        push_digits(out, b':', millis / 1_000 % 60, 2);
        push_digits(out, b'.', millis % 1_000, 3);
        out.push(b'Z');
    }
}

/// `mark`, then `value` with leading zeros.
fn push_digits(out: &mut Vec<u8>, mark: u8, value: u64, digits: u32) {
    out.push(mark);
    for place in (0..digits).rev() {
        out.push(b'0' + (value / 10_u64.pow(place) % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(iso_time: &mut IsoTime, millis: i64) -> String {
        let mut out = Vec::new();
        iso_time.push(&mut out, millis);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_utc_with_milliseconds() {
        let mut iso_time = IsoTime::new();
        assert_eq!(text(&mut iso_time, 1_763_768_400_250), "2025-11-21T23:40:00.250Z");
        assert_eq!(text(&mut iso_time, 1_763_769_599_999), "2025-11-21T23:59:59.999Z");
        assert_eq!(text(&mut iso_time, 1_763_769_600_000), "2025-11-22T00:00:00.000Z");
        assert_eq!(text(&mut iso_time, 0), "1970-01-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn reads_back_as_the_same_time(times in proptest::collection::vec(0..4_102_444_800_000_i64, 1..4)) {
            let mut iso_time = IsoTime::new();
            for millis in times {
                let read: Timestamp = text(&mut iso_time, millis).parse().unwrap();
                prop_assert_eq!(read.as_millisecond(), millis);
            }
        }
    }
}
