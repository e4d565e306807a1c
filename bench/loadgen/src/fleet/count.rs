//! Counts the positions of frames in the format that was asked for.

use crate::fleet::scan::{self, Sample, Scan, Topic};
use crate::random::Random;

/// The frame that is coming in.
#[derive(Debug)]
pub enum Count {
    /// JSON.
    Json(Scan),
}

impl Count {
    /// For frames of a subprotocol; without one they are JSON.
    pub fn new(_protocol: Option<&str>) -> Self {
        Self::Json(Scan::default())
    }

    /// Takes a piece of the frame.
    pub fn take(&mut self, piece: &[u8]) {
        match self {
            Self::Json(scan) => scan.take(piece),
        }
    }

    /// A position in the piece, if there is one to be had and the frame is of what moved.
    pub fn sample(&self, piece: &[u8], random: &mut Random) -> Option<Sample> {
        match self {
            Self::Json(scan) if scan.topic() == Topic::Moved => scan::sample(piece, random),
            Self::Json(_) => None,
        }
    }

    /// The frame is whole: what it was about and how many positions it had.
    pub fn end(&mut self) -> (Topic, u64) {
        match self {
            Self::Json(scan) => {
                let found = (scan.topic(), scan.positions());
                *scan = Scan::default();
                found
            }
        }
    }
}
