//! Columns of one stored row: fixes of one device within one UTC day, ascending by time.

use std::ops::Range;

use crate::batch::Columns;
use crate::fix::DAY_MILLIS;

/// A row of `track_segment`, borrowed from the columns that hold its fixes.
///
/// Never empty, strictly ascending by time, within one UTC day: `split` guarantees it for columns that ascend.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The company.
    pub tenant_id: i32,
    /// What sent the fixes.
    pub device_id: i64,
    /// Milliseconds since 1970 of the first fix; unique per device, because the times of its fixes are.
    pub first_at_millis: i64,
    /// Milliseconds since 1970 of the last fix.
    pub last_at_millis: i64,
    /// Milliseconds since 1970.
    pub fixed_at_millis: &'a [i64],
    /// 1e-7 degrees.
    pub lat_e7: &'a [i32],
    /// 1e-7 degrees.
    pub lon_e7: &'a [i32],
    /// Decimetres, or `NONE_I32`.
    pub altitude_dm: &'a [i32],
    /// Centimetres per second, or `NONE_I16`.
    pub speed_cmps: &'a [i16],
    /// 0.01 degrees from -18,000, or `NONE_I16`.
    pub heading_cdeg: &'a [i16],
    /// Decimetres, or `NONE_I16`.
    pub accuracy_dm: &'a [i16],
    /// Thousandths, or `NONE_I16`.
    pub battery_permille: &'a [i16],
}

/// Cuts columns that ascend by time where a UTC day ends, and appends the pieces.
pub fn split<'a>(tenant_id: i32, device_id: i64, columns: &'a Columns, segments: &mut Vec<Segment<'a>>) {
    let times = columns.fixed_at_millis.as_slice();
    let mut start = 0;
    while let Some(first) = times.get(start) {
        let next_day_millis = (first.div_euclid(DAY_MILLIS) + 1) * DAY_MILLIS;
        let rest = times.get(start..).unwrap_or_default();
        let end = start + rest.partition_point(|time| *time < next_day_millis);
        segments.extend(segment(tenant_id, device_id, columns, start..end));
        start = end;
    }
}

/// The row of a range of such columns; `None` if the range is empty or leaves them.
pub(crate) fn segment(tenant_id: i32, device_id: i64, columns: &Columns, range: Range<usize>) -> Option<Segment<'_>> {
    let fixed_at_millis = columns.fixed_at_millis.get(range.clone())?;
    Some(Segment {
        tenant_id,
        device_id,
        first_at_millis: *fixed_at_millis.first()?,
        last_at_millis: *fixed_at_millis.last()?,
        fixed_at_millis,
        lat_e7: columns.lat_e7.get(range.clone())?,
        lon_e7: columns.lon_e7.get(range.clone())?,
        altitude_dm: columns.altitude_dm.get(range.clone())?,
        speed_cmps: columns.speed_cmps.get(range.clone())?,
        heading_cdeg: columns.heading_cdeg.get(range.clone())?,
        accuracy_dm: columns.accuracy_dm.get(range.clone())?,
        battery_permille: columns.battery_permille.get(range)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{Fix, NONE_I16, NONE_I32};

    fn columns(times: &[i64]) -> Columns {
        let mut columns = Columns::default();
        for fixed_at_millis in times {
            columns.push(Fix {
                fixed_at_millis: *fixed_at_millis,
                lat_e7: 0,
                lon_e7: 0,
                altitude_dm: NONE_I32,
                speed_cmps: NONE_I16,
                heading_cdeg: NONE_I16,
                accuracy_dm: NONE_I16,
                battery_permille: NONE_I16,
            });
        }
        columns
    }

    #[test]
    fn cuts_at_midnight() {
        let midnight = 20_000 * DAY_MILLIS;
        let columns =
            columns(&[midnight - 2, midnight - 1, midnight, midnight + DAY_MILLIS - 1, midnight + DAY_MILLIS]);
        let mut segments = Vec::new();
        split(1, 2, &columns, &mut segments);
        let spans: Vec<_> = segments.iter().map(|segment| (segment.first_at_millis, segment.last_at_millis)).collect();
        let expected = [
            (midnight - 2, midnight - 1),
            (midnight, midnight + DAY_MILLIS - 1),
            (midnight + DAY_MILLIS, midnight + DAY_MILLIS),
        ];
        assert_eq!(spans, expected);
    }

    #[test]
    fn nothing_makes_no_row() {
        let (columns, mut segments) = (Columns::default(), Vec::new());
        split(1, 2, &columns, &mut segments);
        assert!(segments.is_empty());
    }
}
