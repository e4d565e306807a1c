//! One fix while it is read.

use super::timestamp::iso_millis;
use crate::fix::{Fix, RawFix, TimeWindow};
use crate::reject::{Fault, Member};

/// The members read so far, and which of them could not be read.
///
/// Faults are kept per member, so that a repeated member replaces a bad value as well as a good one, and so that the
/// fault reported does not depend on the order of the members.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// An unreadable member is `None` here, as if it were absent.
    raw: RawFix,
    /// One bit per member.
    wrong_types: u16,
    /// The timestamp is text, but no time.
    wrong_text: bool,
}

impl Draft {
    /// Takes a value; `None` is an explicit null and means absent.
    #[inline]
    pub(super) fn set(&mut self, member: Member, value: Option<f64>) {
        self.wrong_types &= !bit(member);
        match member {
            Member::Fix => {}
            Member::Timestamp => {
                self.raw.timestamp_millis = value;
                self.wrong_text = false;
            }
            Member::Latitude => self.raw.latitude = value,
            Member::Longitude => self.raw.longitude = value,
            Member::Accuracy => self.raw.accuracy = value,
            Member::Altitude => self.raw.altitude = value,
            Member::Heading => self.raw.heading = value,
            Member::Speed => self.raw.speed = value,
            Member::Battery => self.raw.battery = value,
        }
    }

    /// Takes a timestamp given as text.
    pub(super) fn set_time(&mut self, text: &str) {
        let millis = iso_millis(text);
        #[expect(clippy::cast_precision_loss, reason = "the year 9999 is 2.5e14 ms, a double is exact to 9e15")]
        self.set(Member::Timestamp, millis.map(|millis| millis as f64));
        self.wrong_text = millis.is_none();
    }

    /// Notes a value of the wrong type.
    #[cold]
    pub(super) fn set_wrong_type(&mut self, member: Member) {
        self.set(member, None);
        self.wrong_types |= bit(member);
    }

    /// The checked fix, or the first fault in the order of the members.
    #[inline]
    pub(super) fn check(&self, window: TimeWindow) -> Result<Fix, (Member, Fault)> {
        let checked = self.raw.check(window);
        if self.wrong_types == 0 && !self.wrong_text { checked } else { Err(self.first_fault(checked)) }
    }

    #[cold]
    fn first_fault(&self, checked: Result<Fix, (Member, Fault)>) -> (Member, Fault) {
        let unreadable = if self.wrong_text {
            (Member::Timestamp, Fault::Format)
        } else {
            let first = IN_ORDER.into_iter().find(|member| self.wrong_types & bit(*member) != 0);
            (first.unwrap_or(Member::Fix), Fault::Type)
        };
        match checked {
            // An equal member is the unreadable one, which `raw` calls missing.
            Err((member, fault)) if member < unreadable.0 => (member, fault),
            _ => unreadable,
        }
    }
}

const IN_ORDER: [Member; 8] = [
    Member::Timestamp,
    Member::Latitude,
    Member::Longitude,
    Member::Accuracy,
    Member::Altitude,
    Member::Heading,
    Member::Speed,
    Member::Battery,
];

const fn bit(member: Member) -> u16 {
    1 << member as u16
}

/// The member that a key names, if it names one.
#[inline]
pub(super) fn member_of(key: &[u8]) -> Option<Member> {
    // A comparison with a constant is one or two words; a match on slices would go byte by byte.
    Some(match key.len() {
        9 if key == b"timestamp" => Member::Timestamp,
        9 if key == b"longitude" => Member::Longitude,
        8 if key == b"latitude" => Member::Latitude,
        8 if key == b"accuracy" => Member::Accuracy,
        8 if key == b"altitude" => Member::Altitude,
        7 if key == b"heading" => Member::Heading,
        7 if key == b"battery" => Member::Battery,
        5 if key == b"speed" => Member::Speed,
        _ => return None,
    })
}
