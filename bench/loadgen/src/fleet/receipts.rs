//! Records the arrival times of receipts by the newest fix of the batch, to compare watchers' frames with.

use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::text_scan::Sample;

/// Recorded batches per device; a watcher that lags further is not measured.
const MAX_BATCHES: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    fixed_at_millis: i64,
    receipt_at: Option<Instant>,
}

/// Delay of a watched position after its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// The frame arrived this long after the receipt.
    After(Duration),
    /// The frame arrived before the receipt.
    BeforeReceipt,
    /// The batch is not recorded.
    Unknown,
}

/// Receipt times of the last batches of every device.
#[derive(Debug)]
pub struct ReceiptTimes {
    first_device: usize,
    stamps: Vec<[Stamp; MAX_BATCHES]>,
}

impl ReceiptTimes {
    /// Creates empty records of `devices` devices whose numbers start with `first_device`.
    pub fn new(first_device: usize, devices: usize) -> Self {
        Self { first_device, stamps: vec![[Stamp::default(); MAX_BATCHES]; devices] }
    }

    /// Records a sent batch by the time of its newest fix.
    pub fn sent(&mut self, number: u64, fixed_at_millis: i64) {
        if let Some(stamps) = self.of(number) {
            stamps.rotate_right(1);
            stamps[0] = Stamp { fixed_at_millis, receipt_at: None };
        }
    }

    /// Records the receipt of a batch.
    pub fn answered(&mut self, number: u64, fixed_at_millis: i64, at: Instant) {
        let stamps = self.of(number).into_iter().flatten();
        for stamp in stamps.filter(|stamp| stamp.fixed_at_millis == fixed_at_millis) {
            stamp.receipt_at = Some(at);
        }
    }

    /// Returns the delay from the receipt to the arrival of a position.
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

    fn of(&mut self, number: u64) -> Option<&mut [Stamp; MAX_BATCHES]> {
        let place = usize::try_from(number).ok()?.checked_sub(self.first_device)?;
        self.stamps.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_compared_with_the_receipt_of_its_own_batch() {
        let (mut receipts, now) = (ReceiptTimes::new(10, 3), Instant::now());
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
        let (mut receipts, now) = (ReceiptTimes::new(0, 1), Instant::now());
        for fix in 1..=5 {
            receipts.sent(0, fix);
            receipts.answered(0, fix, now);
        }
        assert_eq!(receipts.delay(Sample { number: 0, fixed_at_millis: 1 }, now), Delay::Unknown);
        assert_eq!(receipts.delay(Sample { number: 0, fixed_at_millis: 2 }, now), Delay::After(Duration::ZERO));
    }
}
