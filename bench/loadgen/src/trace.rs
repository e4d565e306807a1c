//! Generates the fixes of a seeded fleet; each device continues where its last batch ended.
//!
//! Every batch is new. A device's fixes ascend in time, one per `fix_interval_millis`. A late batch has times
//! `late_millis` earlier and shifted by half an interval, so that it overlaps stored segments without equal times.

use crate::random::Random;

/// 1e-7 degrees of latitude in a metre.
const E7_PER_METRE: f64 = 89.832;
const TURN_EVERY_FIXES: u64 = 12;
/// Centre of the town that the fleet starts in, and largest distance of a start from it.
const CENTRE_LAT_E7: i32 = 481_371_540;
const CENTRE_LON_E7: i32 = 115_761_240;
const SPREAD_E7: u32 = 2_000_000;

/// Options of the generated fixes of a run.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// Seed of the fixes.
    pub seed: u64,
    /// Fixes per batch.
    pub batch_fixes: usize,
    /// Time of every device's first fix, within one interval; milliseconds since 1970.
    pub first_fix_millis: i64,
    /// Interval between the fixes of a device.
    pub fix_interval_millis: i64,
    /// Share of late batches, 0 to 1.
    pub late_share: f64,
    /// Lateness of late batches.
    pub late_millis: i64,
}

/// Position report in integers, scaled to the last digit that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Milliseconds since 1970.
    pub fixed_at_millis: i64,
    /// 1e-7 degrees.
    pub lat_e7: i32,
    /// 1e-7 degrees.
    pub lon_e7: i32,
    /// Tenths of a metre.
    pub accuracy_dm: i32,
    /// Tenths of a metre.
    pub altitude_dm: i32,
    /// Tenths of a degree from north, 0 to 3,599.
    pub heading_ddeg: i32,
    /// Tenths of a metre per second.
    pub speed_dmps: i32,
}

struct Device {
    number: u64,
    random: Random,
    /// Time of the next fix of a batch that is not late.
    next_millis: i64,
    lat_e7: i32,
    lon_e7: i32,
    altitude_dm: i32,
    speed_dmps: i32,
    heading_ddeg: i32,
    /// 1e-7 degrees north and east of one decimetre in the direction of the heading.
    north_e7: f64,
    east_e7: f64,
}

/// Devices of one connection, which send in turn.
pub struct Trace {
    options: TraceOptions,
    devices: Vec<Device>,
    turn: usize,
    fixes: Vec<Fix>,
    last_fix_millis: i64,
}

impl Trace {
    /// Creates the devices with these numbers.
    pub fn new(options: &TraceOptions, numbers: impl Iterator<Item = u64>) -> Self {
        Self {
            options: options.clone(),
            devices: numbers.map(|number| Device::new(number, options)).collect(),
            turn: 0,
            fixes: Vec::with_capacity(options.batch_fixes),
            last_fix_millis: options.first_fix_millis,
        }
    }

    /// Returns the device number and the fixes of the next batch; `None` if there is no device.
    pub fn next_batch(&mut self) -> Option<(u64, &[Fix])> {
        let turn = self.turn;
        self.turn = if turn + 1 < self.devices.len() { turn + 1 } else { 0 };
        let device = self.devices.get_mut(turn)?;
        let options = &self.options;
        let late = options.late_share > 0.0 && device.random.chance(options.late_share);
        let shift_millis = if late { options.fix_interval_millis / 2 - options.late_millis } else { 0 };
        self.fixes.clear();
        for _ in 0..options.batch_fixes {
            self.fixes.push(device.drive(shift_millis, options.fix_interval_millis));
        }
        self.last_fix_millis = self.last_fix_millis.max(device.next_millis);
        Some((device.number, &self.fixes))
    }

    /// Time after every fix so far, from which a later run can continue.
    pub fn last_fix_millis(&self) -> i64 {
        self.last_fix_millis
    }
}

impl Device {
    fn new(number: u64, options: &TraceOptions) -> Self {
        let mut random = Random::new(options.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut device = Self {
            number,
            next_millis: options.first_fix_millis
                + i64::from(random.below(1_000)) * options.fix_interval_millis / 1_000,
            lat_e7: CENTRE_LAT_E7 + random.around(SPREAD_E7),
            lon_e7: CENTRE_LON_E7 + random.around(SPREAD_E7),
            altitude_dm: 5_000 + random.around(400),
            speed_dmps: 80 + random.around(60),
            heading_ddeg: 1_800 + random.around(1_799),
            north_e7: 0.0,
            east_e7: 0.0,
            random,
        };
        device.head_for(device.heading_ddeg);
        device
    }

    /// Moves by one step and returns the fix at its end.
    fn drive(&mut self, shift_millis: i64, interval_millis: i64) -> Fix {
        let random = &mut self.random;
        let draw = random.bits();
        if draw.is_multiple_of(TURN_EVERY_FIXES) {
            let heading_ddeg = (self.heading_ddeg + random.around(900)).rem_euclid(3_600);
            self.head_for(heading_ddeg);
        }
        let random = &mut self.random;
        self.speed_dmps = (self.speed_dmps + random.around(8)).clamp(0, 300);
        self.altitude_dm = (self.altitude_dm + random.around(3)).clamp(0, 30_000);
        // A step is one second's distance whatever the interval, or long intervals would take the fleet out of the country.
        let speed = f64::from(self.speed_dmps);
        self.lat_e7 += whole(self.north_e7 * speed) + random.around(15);
        self.lon_e7 += whole(self.east_e7 * speed) + random.around(15);
        if (self.lat_e7 - CENTRE_LAT_E7).abs() > 20_000_000 || (self.lon_e7 - CENTRE_LON_E7).abs() > 20_000_000 {
            self.head_for((self.heading_ddeg + 1_800) % 3_600);
        }
        let fixed_at_millis = self.next_millis + shift_millis;
        self.next_millis += interval_millis;
        Fix {
            fixed_at_millis,
            lat_e7: self.lat_e7,
            lon_e7: self.lon_e7,
            accuracy_dm: 30 + i32::try_from(draw >> 32 & 0x3F).unwrap_or_default(),
            altitude_dm: self.altitude_dm,
            heading_ddeg: self.heading_ddeg,
            speed_dmps: self.speed_dmps,
        }
    }

    fn head_for(&mut self, heading_ddeg: i32) {
        let (sine, cosine) = (f64::from(heading_ddeg) / 10.0).to_radians().sin_cos();
        let shrink = (f64::from(CENTRE_LAT_E7) / 1e7).to_radians().cos();
        self.heading_ddeg = heading_ddeg;
        self.north_e7 = cosine * E7_PER_METRE / 10.0;
        self.east_e7 = sine * E7_PER_METRE / 10.0 / shrink;
    }
}

/// Rounds a small number.
fn whole(steps: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "at most 30 m, which is 4,000 steps")]
    let steps = steps.round() as i32;
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const OPTIONS: TraceOptions = TraceOptions {
        seed: 7,
        batch_fixes: 50,
        first_fix_millis: 1_763_768_400_000,
        fix_interval_millis: 1_000,
        late_share: 0.0,
        late_millis: 3_600_000,
    };

    fn batches(options: &TraceOptions, devices: u64, count: usize) -> Vec<(u64, Vec<Fix>)> {
        let mut trace = Trace::new(options, 0..devices);
        (0..count)
            .map(|_| {
                let (device, fixes) = trace.next_batch().unwrap();
                (device, fixes.to_vec())
            })
            .collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_fixes_and_another_seed_others() {
        let first = batches(&OPTIONS, 3, 9);
        assert_eq!(first, batches(&OPTIONS, 3, 9));
        assert_ne!(first, batches(&TraceOptions { seed: 8, ..OPTIONS }, 3, 9));
    }

    #[test]
    fn how_the_devices_are_dealt_to_connections_does_not_change_their_fixes() {
        let together = batches(&OPTIONS, 4, 8);
        let mut alone = Trace::new(&OPTIONS, std::iter::once(2));
        let ours: Vec<_> = together.iter().filter(|(device, _)| *device == 2).collect();
        for (_, fixes) in ours {
            assert_eq!(alone.next_batch().unwrap(), (2, fixes.as_slice()));
        }
    }

    #[test]
    fn a_device_ascends_by_its_interval_across_batches() {
        let times: Vec<i64> = batches(&OPTIONS, 2, 20)
            .iter()
            .filter(|(device, _)| *device == 1)
            .flat_map(|(_, fixes)| fixes.iter().map(|fix| fix.fixed_at_millis))
            .collect();
        assert_eq!(times.len(), 500);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1_000));
    }

    #[test]
    fn late_batches_are_late_by_what_was_asked_and_repeat_no_time() {
        let options = TraceOptions { late_share: 0.2, late_millis: 600_000, ..OPTIONS };
        let all = batches(&options, 1, 400);
        let mut seen = HashSet::new();
        let mut newest = i64::MIN;
        let mut late = 0;
        for (_, fixes) in &all {
            assert!(fixes.iter().all(|fix| seen.insert(fix.fixed_at_millis)));
            if fixes[0].fixed_at_millis < newest {
                late += 1;
                let lateness_millis = newest - fixes[0].fixed_at_millis;
                // Smaller when several late batches follow each other.
                assert!((300_000..=600_000).contains(&lateness_millis), "{lateness_millis}");
            }
            newest = newest.max(fixes[49].fixed_at_millis);
        }
        assert!((60..100).contains(&late), "{late}");
    }

    #[test]
    fn fixes_stay_within_what_a_server_accepts() {
        let options = TraceOptions { batch_fixes: 1_000, ..OPTIONS };
        for (_, fixes) in batches(&options, 20, 200) {
            for fix in fixes {
                assert!((fix.lat_e7 - CENTRE_LAT_E7).abs() < 30_000_000);
                assert!((fix.lon_e7 - CENTRE_LON_E7).abs() < 30_000_000);
                assert!((0..3_600).contains(&fix.heading_ddeg));
                assert!((0..=300).contains(&fix.speed_dmps));
            }
        }
    }

    #[test]
    fn a_later_run_may_start_where_this_one_ended() {
        let mut trace = Trace::new(&OPTIONS, 0..10);
        let mut newest = 0;
        for _ in 0..25 {
            newest = newest.max(trace.next_batch().unwrap().1[49].fixed_at_millis);
        }
        assert!(trace.last_fix_millis() > newest);
    }

    #[test]
    fn a_connection_without_devices_has_no_batches() {
        assert!(Trace::new(&OPTIONS, std::iter::empty()).next_batch().is_none());
    }
}
