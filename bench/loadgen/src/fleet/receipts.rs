//! When the receipt of a batch came, by the newest fix in it: what a watcher's frame is compared with.

use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::scan::Sample;

/// Batches of one device that are remembered; a watcher further behind than that is no longer measured.
const KEPT: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    fixed_at_millis: i64,
    receipt_at: Option<Instant>,
}

/// How a watched position compares with its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// The frame came so long after the receipt.
    After(Duration),
    /// It came before.
    BeforeReceipt,
    /// The batch is not remembered.
    Unknown,
}

/// The last batches of every device of this process.
#[derive(Debug)]
pub struct Receipts {
    first_device: usize,
    stamps: Vec<[Stamp; KEPT]>,
}

impl Receipts {
    /// Nothing sent yet by `devices` devices whose numbers begin with `first_device`.
    pub fn new(first_device: usize, devices: usize) -> Self {
        Self { first_device, stamps: vec![[Stamp::default(); KEPT]; devices] }
    }

    /// A batch whose newest fix is of this time is on its way.
    pub fn sent(&mut self, number: u64, fixed_at_millis: i64) {
        if let Some(stamps) = self.of(number) {
            stamps.rotate_right(1);
            stamps[0] = Stamp { fixed_at_millis, receipt_at: None };
        }
    }

    /// Its receipt came.
    pub fn answered(&mut self, number: u64, fixed_at_millis: i64, at: Instant) {
        let stamps = self.of(number).into_iter().flatten();
        for stamp in stamps.filter(|stamp| stamp.fixed_at_millis == fixed_at_millis) {
            stamp.receipt_at = Some(at);
        }
    }

    /// How long after the receipt a position was seen.
    pub fn delay(&mut self, seen: Sample, at: Instant) -> Delay {
        let Some(stamps) = self.of(seen.number) else { return Delay::Unknown };
        match stamps.iter().find(|stamp| stamp.fixed_at_millis == seen.fixed_at_millis) {
            None => Delay::Unknown,
            Some(Stamp { receipt_at: None, .. }) => Delay::BeforeReceipt,
            Some(Stamp { receipt_at: Some(receipt_at), .. }) => {
                at.checked_duration_since(*receipt_at).map_or(Delay::BeforeReceipt, Delay::After)
            }
        }
    }

    fn of(&mut self, number: u64) -> Option<&mut [Stamp; KEPT]> {
        let place = usize::try_from(number).ok()?.checked_sub(self.first_device)?;
        self.stamps.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_compared_with_the_receipt_of_its_own_batch() {
        let (mut receipts, now) = (Receipts::new(10, 3), Instant::now());
        let after = |millis| now + Duration::from_millis(millis);
        for (fix, receipt_millis) in [(1_000, 5), (2_000, 105), (3_000, 205)] {
            receipts.sent(11, fix);
            receipts.answered(11, fix, after(receipt_millis));
        }
        receipts.sent(11, 4_000);
        let mut delay = |number, fixed_at_millis| receipts.delay(Sample { number, fixed_at_millis }, after(300));
        assert_eq!(delay(11, 2_000), Delay::After(Duration::from_millis(195)));
        assert_eq!(delay(11, 4_000), Delay::BeforeReceipt);
        assert_eq!(delay(11, 999), Delay::Unknown);
        assert_eq!([delay(9, 2_000), delay(13, 2_000)], [Delay::Unknown; 2]);
    }

    #[test]
    fn old_batches_are_forgotten() {
        let (mut receipts, now) = (Receipts::new(0, 1), Instant::now());
        for fix in 1..=5 {
            receipts.sent(0, fix);
            receipts.answered(0, fix, now);
        }
        assert_eq!(receipts.delay(Sample { number: 0, fixed_at_millis: 1 }, now), Delay::Unknown);
        assert_eq!(receipts.delay(Sample { number: 0, fixed_at_millis: 2 }, now), Delay::After(Duration::ZERO));
    }
}
