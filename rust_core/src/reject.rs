//! Why one fix of a batch is refused. A bad fix is not a bad batch: rejects are collected, the rest is stored.
//!
//! A code is `<member>_<fault>`, so the closed set below is the whole catalogue; `docs/protocol.md` lists it and a
//! test compares the two. Codes are part of the wire contract and never change their meaning.

/// The member of a fix that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Member {
    /// The fix as a whole.
    Fix,
    /// Device's clock when the position was measured.
    Timestamp,
    /// Degrees north, WGS 84.
    Latitude,
    /// Degrees east, WGS 84.
    Longitude,
    /// Radius of the 95 % circle, metres.
    Accuracy,
    /// Metres above the ellipsoid.
    Altitude,
    /// Degrees from north, clockwise.
    Heading,
    /// Metres per second.
    Speed,
    /// Charge, 0 to 1.
    Battery,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A required member is absent or null.
    Missing,
    /// The value has the wrong type.
    Type,
    /// NaN, infinite, or too large for a double.
    NotFinite,
    /// Outside the range that `fix.rs` gives for the member.
    Range,
    /// Text that is not an ISO 8601 time with an offset.
    Format,
    /// Too far ahead of the server's clock.
    Future,
    /// Before the year 2000.
    Past,
    /// Older than the tenant keeps fixes.
    Expired,
}

/// One refused fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Position of the fix in the batch as sent, from 0.
    pub index: u32,
    /// The member at fault.
    pub member: Member,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Every reject that can occur, in the order of the members: the catalogue for documents and tests.
pub const CATALOGUE: &[(Member, Fault)] = &[
    (Member::Fix, Fault::Type),
    (Member::Timestamp, Fault::Missing),
    (Member::Timestamp, Fault::Type),
    (Member::Timestamp, Fault::NotFinite),
    (Member::Timestamp, Fault::Format),
    (Member::Timestamp, Fault::Future),
    (Member::Timestamp, Fault::Past),
    (Member::Timestamp, Fault::Expired),
    (Member::Latitude, Fault::Missing),
    (Member::Latitude, Fault::Type),
    (Member::Latitude, Fault::NotFinite),
    (Member::Latitude, Fault::Range),
    (Member::Longitude, Fault::Missing),
    (Member::Longitude, Fault::Type),
    (Member::Longitude, Fault::NotFinite),
    (Member::Longitude, Fault::Range),
    (Member::Accuracy, Fault::Type),
    (Member::Accuracy, Fault::NotFinite),
    (Member::Accuracy, Fault::Range),
    (Member::Altitude, Fault::Type),
    (Member::Altitude, Fault::NotFinite),
    (Member::Altitude, Fault::Range),
    (Member::Heading, Fault::Type),
    (Member::Heading, Fault::NotFinite),
    (Member::Heading, Fault::Range),
    (Member::Speed, Fault::Type),
    (Member::Speed, Fault::NotFinite),
    (Member::Speed, Fault::Range),
    (Member::Battery, Fault::Type),
    (Member::Battery, Fault::NotFinite),
    (Member::Battery, Fault::Range),
];

impl Member {
    /// The member's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fix => "fix",
            Self::Timestamp => "timestamp",
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
            Self::Accuracy => "accuracy",
            Self::Altitude => "altitude",
            Self::Heading => "heading",
            Self::Speed => "speed",
            Self::Battery => "battery",
        }
    }

    /// What a right value looks like, with range and unit.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Fix => "an object with timestamp, latitude and longitude",
            Self::Timestamp => "milliseconds since 1970 or ISO 8601 text with an offset",
            Self::Latitude => "a number from -90 to 90 degrees",
            Self::Longitude => "a number from -180 to 180 degrees",
            Self::Accuracy => "a number from 0 to 100,000 metres",
            Self::Altitude => "a number from -12,000 to 100,000 metres",
            Self::Heading => "a number from 0 to 360 degrees",
            Self::Speed => "a number from 0 to 327 metres per second",
            Self::Battery => "a number from 0 to 1",
        }
    }
}

impl Fault {
    /// The second half of the code.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Type => "type",
            Self::NotFinite => "not_finite",
            Self::Range => "range",
            Self::Format => "format",
            Self::Future => "future",
            Self::Past => "past",
            Self::Expired => "expired",
        }
    }
}

impl Reject {
    /// The stable code, as in `latitude_range`.
    pub fn code(&self) -> String {
        code(self.member, self.fault)
    }

    /// One sentence for the person who reads the receipt.
    pub fn detail(&self) -> String {
        detail(self.member, self.fault)
    }
}

/// The stable code of a member and a fault.
pub fn code(member: Member, fault: Fault) -> String {
    format!("{}_{}", member.name(), fault.name())
}

/// The sentence of a member and a fault.
pub fn detail(member: Member, fault: Fault) -> String {
    let (name, expected) = (member.name(), member.expected());
    match fault {
        Fault::Missing => format!("{name} is required: {expected}."),
        Fault::Type => format!("{name} has the wrong type: {expected}."),
        Fault::NotFinite => format!("{name} is not a finite number: {expected}."),
        Fault::Range => format!("{name} is out of range: {expected}."),
        Fault::Format => format!("{name} cannot be read: {expected}."),
        Fault::Future => format!("{name} is too far ahead of the server's clock; is the device's clock right?"),
        Fault::Past => format!("{name} is before the year 2000; is the device's clock right?"),
        Fault::Expired => format!("{name} is older than fixes are kept here."),
    }
}
