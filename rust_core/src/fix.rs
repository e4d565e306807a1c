//! One position report, checked and scaled to the integers it is stored as.
//!
//! Storage uses scaled integers, so that a fix costs few bytes and prints as the decimal that was sent. The steps lie
//! below what a GPS receiver can resolve:
//!
//! | member    | step       | stored as                                        |
//! |-----------|------------|--------------------------------------------------|
//! | latitude  | 1e-7 deg   | `i32`                                            |
//! | longitude | 1e-7 deg   | `i32`                                            |
//! | altitude  | 0.1 m      | `i32`                                            |
//! | speed     | 0.01 m/s   | `i16`                                            |
//! | heading   | 0.01 deg   | `i16`, -180 to 180 so that 0..360 fits           |
//! | accuracy  | 0.1 m      | `i16`; 3,276.7 m stands for that and anything worse |
//! | battery   | 0.001      | `i16`                                            |

use crate::reject::{Fault, Member};

/// Stands for "the sender gave none" in an `i32` column.
pub const NONE_I32: i32 = i32::MIN;
/// Stands for "the sender gave none" in an `i16` column.
pub const NONE_I16: i16 = i16::MIN;

/// 2000-01-01T00:00:00Z; no fleet has fixes before it, a device whose clock is unset does.
pub const EARLIEST_MILLIS: i64 = 946_684_800_000;
/// The last millisecond of the year 9999, which no clock of a device comes near.
pub const LATEST_MILLIS: i64 = 253_402_300_799_999;
/// Milliseconds in a UTC day: a segment never crosses one.
pub const DAY_MILLIS: i64 = 86_400_000;

/// A checked fix. `NONE_I32` and `NONE_I16` mark what the sender left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Device's clock, milliseconds since 1970 UTC.
    pub fixed_at_millis: i64,
    /// Latitude in 1e-7 degrees.
    pub lat_e7: i32,
    /// Longitude in 1e-7 degrees.
    pub lon_e7: i32,
    /// Altitude in decimetres.
    pub altitude_dm: i32,
    /// Speed in centimetres per second.
    pub speed_cmps: i16,
    /// Heading in 0.01 degrees, -18,000 to 17,999, clockwise from north.
    pub heading_cdeg: i16,
    /// Accuracy in decimetres, at most 32,767.
    pub accuracy_dm: i16,
    /// Battery in thousandths.
    pub battery_permille: i16,
}

impl Fix {
    /// Bytes of a packed fix.
    pub const PACKED_BYTES: usize = 28;

    /// Appends the members in the order of their declaration, big-endian.
    pub fn pack_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fixed_at_millis.to_be_bytes());
        for word in [self.lat_e7, self.lon_e7, self.altitude_dm] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for half in [self.speed_cmps, self.heading_cdeg, self.accuracy_dm, self.battery_permille] {
            out.extend_from_slice(&half.to_be_bytes());
        }
    }

    /// Reads a packed fix off the front of `rest`; `None` if that is too short.
    pub fn unpack_from(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            fixed_at_millis: i64::from_be_bytes(take(rest)?),
            lat_e7: i32::from_be_bytes(take(rest)?),
            lon_e7: i32::from_be_bytes(take(rest)?),
            altitude_dm: i32::from_be_bytes(take(rest)?),
            speed_cmps: i16::from_be_bytes(take(rest)?),
            heading_cdeg: i16::from_be_bytes(take(rest)?),
            accuracy_dm: i16::from_be_bytes(take(rest)?),
            battery_permille: i16::from_be_bytes(take(rest)?),
        })
    }

    /// Whether every member lies in the range that `RawFix::check` lets through, whatever the window of times.
    pub fn is_plausible(&self) -> bool {
        let small = |value: i16, low: i16, high: i16| value == NONE_I16 || (low..=high).contains(&value);
        (EARLIEST_MILLIS..=LATEST_MILLIS).contains(&self.fixed_at_millis)
            && (-900_000_000..=900_000_000).contains(&self.lat_e7)
            && (-1_800_000_000..=1_800_000_000).contains(&self.lon_e7)
            && (self.altitude_dm == NONE_I32 || (-120_000..=1_000_000).contains(&self.altitude_dm))
            && small(self.speed_cmps, 0, 32_700)
            && small(self.heading_cdeg, -18_000, 17_999)
            && small(self.accuracy_dm, 0, i16::MAX)
            && small(self.battery_permille, 0, 1_000)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// A fix as a sender wrote it: doubles in the units of the wire, `None` for what is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RawFix {
    /// Milliseconds since 1970; may carry a fraction.
    pub timestamp_millis: Option<f64>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
    /// Metres.
    pub accuracy: Option<f64>,
    /// Metres.
    pub altitude: Option<f64>,
    /// Degrees from north.
    pub heading: Option<f64>,
    /// Metres per second.
    pub speed: Option<f64>,
    /// 0 to 1.
    pub battery: Option<f64>,
}

/// The span of plausible times. Both ends are allowed.
#[derive(Clone, Copy, Debug)]
pub struct TimeWindow {
    /// What came before is not kept any more; has no effect before `EARLIEST_MILLIS`, which no fix may precede.
    pub kept_from_millis: i64,
    /// Usually ten minutes ahead of the server's clock.
    pub latest_millis: i64,
}

impl RawFix {
    /// Checks every member and scales it.
    ///
    /// # Errors
    /// The first fault in the order timestamp, latitude, longitude, then the optional members.
    #[inline]
    pub fn check(&self, window: TimeWindow) -> Result<Fix, (Member, Fault)> {
        let fixed_at_millis = self.check_timestamp(window)?;
        let lat_e7 = scaled(required(self.latitude, Member::Latitude)?, Member::Latitude, -90.0, 90.0, 1e7)?;
        let lon_e7 = scaled(required(self.longitude, Member::Longitude)?, Member::Longitude, -180.0, 180.0, 1e7)?;
        let accuracy = optional(self.accuracy, Member::Accuracy, 0.0, 100_000.0, 10.0)?;
        let altitude = optional(self.altitude, Member::Altitude, -12_000.0, 100_000.0, 10.0)?;
        let heading = optional(self.heading, Member::Heading, 0.0, 360.0, 100.0)?;
        let speed = optional(self.speed, Member::Speed, 0.0, 327.0, 100.0)?;
        let battery = optional(self.battery, Member::Battery, 0.0, 1.0, 1000.0)?;
        Ok(Fix {
            fixed_at_millis,
            lat_e7,
            lon_e7,
            altitude_dm: altitude.unwrap_or(NONE_I32),
            speed_cmps: narrow(speed),
            heading_cdeg: narrow(heading.map(signed_heading)),
            accuracy_dm: narrow(accuracy.map(|dm| dm.min(i32::from(i16::MAX)))),
            battery_permille: narrow(battery),
        })
    }

    #[inline]
    fn check_timestamp(&self, window: TimeWindow) -> Result<i64, (Member, Fault)> {
        let millis = finite(required(self.timestamp_millis, Member::Timestamp)?, Member::Timestamp)?;
        // 2^53 ms is the year 287396: beyond it a double no longer counts milliseconds.
        if millis.abs() > 9_007_199_254_740_992.0 {
            let fault = if millis > 0.0 { Fault::Future } else { Fault::Past };
            return Err((Member::Timestamp, fault));
        }
        let millis = floor(millis);
        if millis > window.latest_millis {
            return Err((Member::Timestamp, Fault::Future));
        }
        if millis < EARLIEST_MILLIS {
            return Err((Member::Timestamp, Fault::Past));
        }
        if millis < window.kept_from_millis {
            return Err((Member::Timestamp, Fault::Expired));
        }
        Ok(millis)
    }
}

#[inline]
fn required(value: Option<f64>, member: Member) -> Result<f64, (Member, Fault)> {
    value.ok_or((member, Fault::Missing))
}

#[inline]
fn finite(value: f64, member: Member) -> Result<f64, (Member, Fault)> {
    if value.is_finite() { Ok(value) } else { Err((member, Fault::NotFinite)) }
}

#[inline]
fn scaled(value: f64, member: Member, low: f64, high: f64, factor: f64) -> Result<i32, (Member, Fault)> {
    if (low..=high).contains(&value) {
        return Ok(round(value * factor));
    }
    finite(value, member)?;
    Err((member, Fault::Range))
}

/// `f64::floor` of a value within 2^53. Without SSE 4.1, which a portable wheel cannot ask for, that is a call.
#[inline]
fn floor(value: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "within 2^53")]
    let whole = value as i64;
    #[expect(clippy::cast_precision_loss, reason = "within 2^53")]
    let is_above = whole as f64 > value;
    whole - i64::from(is_above)
}

/// `f64::round` of a value within 2^31, halves away from zero; the largest range times its factor is 180 * 1e7. The
/// rest is exact: both terms have the sign of `value` and lie within one of each other.
#[inline]
fn round(value: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "within 2^31")]
    let whole = value as i32;
    let rest = value - f64::from(whole);
    whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)
}

#[inline]
fn optional(
    value: Option<f64>,
    member: Member,
    low: f64,
    high: f64,
    factor: f64,
) -> Result<Option<i32>, (Member, Fault)> {
    value.map(|value| scaled(value, member, low, high, factor)).transpose()
}

/// 0..=36,000 to -18,000..18,000, the same direction.
#[inline]
fn signed_heading(cdeg: i32) -> i32 {
    (cdeg + 18_000) % 36_000 - 18_000
}

/// To an `i16` column; the ranges above leave nothing out of reach.
fn narrow(value: Option<i32>) -> i16 {
    value.map_or(NONE_I16, |value| i16::try_from(value).unwrap_or(i16::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: TimeWindow = TimeWindow { kept_from_millis: EARLIEST_MILLIS, latest_millis: 1_763_769_000_000 };

    fn raw() -> RawFix {
        RawFix {
            timestamp_millis: Some(1_763_768_400_000.0),
            latitude: Some(48.137_154),
            longitude: Some(11.576_124),
            ..RawFix::default()
        }
    }

    #[test]
    fn keeps_what_was_sent_to_the_stored_step() {
        let fix = RawFix {
            speed: Some(13.4),
            heading: Some(271.0),
            altitude: Some(519.0),
            accuracy: Some(5.0),
            battery: Some(0.8),
            ..raw()
        }
        .check(WINDOW)
        .unwrap();
        assert_eq!((fix.lat_e7, fix.lon_e7), (481_371_540, 115_761_240));
        assert_eq!((fix.speed_cmps, fix.heading_cdeg, fix.altitude_dm), (1_340, -8_900, 5_190));
        assert_eq!((fix.accuracy_dm, fix.battery_permille), (50, 800));
    }

    #[test]
    fn marks_what_was_left_out() {
        let fix = raw().check(WINDOW).unwrap();
        assert_eq!((fix.altitude_dm, fix.speed_cmps, fix.battery_permille), (NONE_I32, NONE_I16, NONE_I16));
    }

    #[test]
    fn north_is_one_direction_only() {
        for heading in [0.0, 360.0] {
            assert_eq!(RawFix { heading: Some(heading), ..raw() }.check(WINDOW).unwrap().heading_cdeg, 0);
        }
        assert_eq!(RawFix { heading: Some(180.0), ..raw() }.check(WINDOW).unwrap().heading_cdeg, -18_000);
    }

    #[test]
    fn refuses_with_the_member_and_the_fault() {
        let cases = [
            (RawFix { timestamp_millis: None, ..raw() }, (Member::Timestamp, Fault::Missing)),
            (RawFix { timestamp_millis: Some(0.0), ..raw() }, (Member::Timestamp, Fault::Past)),
            (RawFix { timestamp_millis: Some(1.8e12), ..raw() }, (Member::Timestamp, Fault::Future)),
            (RawFix { timestamp_millis: Some(f64::MAX), ..raw() }, (Member::Timestamp, Fault::Future)),
            (RawFix { timestamp_millis: Some(f64::NAN), ..raw() }, (Member::Timestamp, Fault::NotFinite)),
            (RawFix { latitude: Some(90.000_000_1), ..raw() }, (Member::Latitude, Fault::Range)),
            (RawFix { latitude: Some(f64::INFINITY), ..raw() }, (Member::Latitude, Fault::NotFinite)),
            (RawFix { longitude: Some(-180.1), ..raw() }, (Member::Longitude, Fault::Range)),
            (RawFix { speed: Some(-1.0), ..raw() }, (Member::Speed, Fault::Range)),
            (RawFix { battery: Some(80.0), ..raw() }, (Member::Battery, Fault::Range)),
        ];
        for (raw, expected) in cases {
            assert_eq!(raw.check(WINDOW), Err(expected), "{raw:?}");
        }
    }

    #[test]
    fn what_is_not_kept_any_more_has_expired() {
        let window = TimeWindow { kept_from_millis: 1_763_768_400_000, ..WINDOW };
        assert!(raw().check(window).is_ok());
        let older = RawFix { timestamp_millis: Some(1_763_768_399_999.9), ..raw() };
        assert_eq!(older.check(window), Err((Member::Timestamp, Fault::Expired)));
        // A clock that was never set is still told apart.
        let unset = RawFix { timestamp_millis: Some(0.0), ..raw() };
        assert_eq!(unset.check(window), Err((Member::Timestamp, Fault::Past)));
    }

    #[test]
    fn the_poles_and_the_antimeridian_are_places() {
        for (latitude, longitude) in [(90.0, 180.0), (-90.0, -180.0), (0.0, 0.0)] {
            assert!(RawFix { latitude: Some(latitude), longitude: Some(longitude), ..raw() }.check(WINDOW).is_ok());
        }
    }

    fn rounds_as_the_library_does(value: f64) {
        for value in [value, value.next_up(), value.next_down(), -value] {
            #[expect(clippy::cast_possible_truncation, reason = "as in the functions")]
            let (rounded, floored) = (value.round() as i32, value.floor() as i64);
            assert_eq!((round(value), floor(value)), (rounded, floored), "{value:e}");
        }
    }

    #[test]
    fn rounds_halves_and_their_neighbours_as_the_library_does() {
        for value in [0.0, 0.5, 1.0, 1.5, 2.5, 5e-324, 4_503_599.5, 1_073_741_824.5, 1_799_999_999.5, 1.8e9] {
            rounds_as_the_library_does(value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn rounds_as_the_library_does_anywhere(value in -1.8e9..1.8e9_f64, steps in -2_000_000_000..2_000_000_000_i32) {
            rounds_as_the_library_does(value);
            rounds_as_the_library_does(value / 1e9);
            rounds_as_the_library_does(f64::from(steps) / 2.0);
        }

        #[test]
        fn floors_as_the_library_does_within_2_to_the_53(value in -9.007e15..9.007e15_f64) {
            #[expect(clippy::cast_possible_truncation, reason = "as in the function")]
            let floored = value.floor() as i64;
            prop_assert_eq!(floor(value), floored);
        }
    }
}
