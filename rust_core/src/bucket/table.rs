//! Many buckets in memory that was bounded at the start.
//!
//! A bucket has a fingerprint of 64 bits of its key, made with a secret of the process, and may lie in either of two
//! sets of four. A slot whose bucket is full again is free: nothing has to be swept, and nothing is lost by taking it.
//! With three times as many slots as keys, both sets of a key are hardly ever taken. A set is one line of the
//! processor's cache, four fingerprints and then four times, and both of a key's are fetched at once.
//!
//! When they are taken, the one of the eight that is nearest to being full makes room, and is counted. So a drained
//! bucket stays where nearly full ones can go: to be rid of it, an attacker has to drain seven others further, which cost
//! as many takes, and cannot know which.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use super::{Left, Rate, Verdict};

const WAYS: usize = 4;
const SLOTS_PER_KEY: usize = 3;
const LINE_BYTES: usize = 64;

/// Fingerprints, then the times at which their buckets are full.
type Set = [i64; 2 * WAYS];

/// The buckets of one process.
pub struct Buckets {
    /// Sets from `first` on, where a line of the cache begins. Zeroes from the system: untouched pages take no memory.
    words: Box<[i64]>,
    first: usize,
    secret: RandomState,
    evicted: u64,
}

/// A cost that shall be taken from one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// What the bucket holds.
    pub rate: Rate,
    /// Which bucket: from `Buckets::print`.
    pub print: i64,
    /// Units.
    pub cost: u32,
}

/// Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the charges waits longest.
    pub index: usize,
    /// Until every one of them could be taken; at least 1.
    pub wait_micros: i64,
}

#[derive(Clone, Copy)]
struct Slot {
    set: usize,
    way: usize,
}

#[expect(clippy::indexing_slicing, reason = "sets come from `sets_of`, ways are below `WAYS`")]
impl Buckets {
    /// Room for `max_keys` buckets that are not full. The memory is asked for at once, and used as keys come.
    pub fn new(max_keys: usize) -> Self {
        let sets = (max_keys * SLOTS_PER_KEY).div_ceil(WAYS).clamp(1, u32::MAX as usize);
        let words = vec![0; (sets + 1) * 2 * WAYS].into_boxed_slice();
        let first = words.as_ptr().align_offset(LINE_BYTES).min(2 * WAYS);
        Self { words, first, secret: RandomState::new(), evicted: 0 }
    }

    /// The fingerprint of a key. Two of a million keys share a bucket once in 37 million tables.
    pub fn print(&self, policy: &str, scope: &str, key: &str) -> i64 {
        self.secret.hash_one((policy, scope, key)).cast_signed()
    }

    /// Reads the lines of a key and does nothing with them: many such reads go on at once, where takes would wait for one
    /// after the other.
    pub fn fetch(&self, print: i64) {
        for set in self.sets_of(print) {
            black_box(self.sets()[set][0]);
        }
    }

    /// Takes every charge, or none. Charges are of different buckets.
    ///
    /// # Errors
    ///
    /// `Refusal`, where one of them cannot be taken.
    pub fn take(&mut self, charges: &[Charge], now_micros: i64) -> Result<(), Refusal> {
        self.check(charges, now_micros)?;
        for charge in charges {
            let found = self.find(charge.print);
            let before = found.map_or(0, |slot| self.time(slot));
            if let Verdict::Allowed { full_at_micros } = charge.rate.judge(before, charge.cost, now_micros) {
                self.put(found, charge.print, full_at_micros, now_micros);
            }
        }
        Ok(())
    }

    /// Whether every charge could be taken now; takes nothing.
    ///
    /// # Errors
    ///
    /// `Refusal`, where one of them cannot be taken.
    pub fn check(&self, charges: &[Charge], now_micros: i64) -> Result<(), Refusal> {
        let mut refusal: Option<Refusal> = None;
        for (index, charge) in charges.iter().enumerate() {
            let verdict = charge.rate.judge(self.full_at(charge.print), charge.cost, now_micros);
            if let Verdict::Refused { wait_micros } = verdict
                && refusal.is_none_or(|worst| wait_micros > worst.wait_micros)
            {
                refusal = Some(Refusal { index, wait_micros });
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// What is left in a bucket.
    pub fn left(&self, rate: &Rate, print: i64, now_micros: i64) -> Left {
        rate.left(self.full_at(print), now_micros)
    }

    /// Drains a bucket at least so far that it is full at `full_at_micros`: what others took of a shared one.
    pub fn settle(&mut self, print: i64, full_at_micros: i64, now_micros: i64) {
        let found = self.find(print);
        let before = found.map_or(0, |slot| self.time(slot));
        if full_at_micros > before {
            self.put(found, print, full_at_micros, now_micros);
        }
    }

    /// Buckets that are not full. Looks at all: about a millisecond for a million slots.
    pub fn drained(&self, now_micros: i64) -> usize {
        self.sets().iter().flat_map(|set| &set[WAYS..]).filter(|full_at| **full_at > now_micros).count()
    }

    /// Buckets that were forgotten before they were full, since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Memory of the table.
    pub fn size_bytes(&self) -> usize {
        self.words.len() * size_of::<i64>()
    }

    fn sets(&self) -> &[Set] {
        self.words[self.first..].as_chunks().0
    }

    fn time(&self, slot: Slot) -> i64 {
        self.sets()[slot.set][WAYS + slot.way]
    }

    /// A bucket that is not there is full.
    fn full_at(&self, print: i64) -> i64 {
        self.find(print).map_or(0, |slot| self.time(slot))
    }

    /// Looks at all eight without a branch between, so that both lines are on their way at once.
    fn find(&self, print: i64) -> Option<Slot> {
        let sets = self.sets_of(print);
        let mut found = None;
        for set in sets {
            for (way, held) in self.sets()[set][..WAYS].iter().enumerate() {
                found = if *held == print { Some(Slot { set, way }) } else { found };
            }
        }
        found
    }

    fn put(&mut self, found: Option<Slot>, print: i64, full_at_micros: i64, now_micros: i64) {
        if full_at_micros <= now_micros {
            return; // Full: as good as not there.
        }
        let slot = found.unwrap_or_else(|| self.make_room(print, now_micros));
        let set = &mut self.words[self.first..].as_chunks_mut::<{ 2 * WAYS }>().0[slot.set];
        set[slot.way] = print;
        set[WAYS + slot.way] = full_at_micros;
    }

    /// A free slot in the emptier of two sets, else the one of the bucket that loses least.
    fn make_room(&mut self, print: i64, now_micros: i64) -> Slot {
        let is_free = |full_at_micros: &i64| *full_at_micros <= now_micros;
        let [first, second] = self.sets_of(print);
        let times = |set: usize| &self.sets()[set][WAYS..];
        let free = |set: usize| times(set).iter().filter(|full_at| is_free(full_at)).count();
        let set = if free(second) > free(first) { second } else { first };
        if let Some(way) = times(set).iter().position(is_free) {
            return Slot { set, way };
        }
        let mut least = Slot { set: first, way: 0 };
        for set in [first, second] {
            for way in 0..WAYS {
                if times(set)[way] < self.time(least) {
                    least = Slot { set, way };
                }
            }
        }
        self.evicted += 1;
        least
    }

    /// The halves of a fingerprint, each spread over all sets but the last, which the alignment may have cut.
    fn sets_of(&self, print: i64) -> [usize; 2] {
        let sets = (self.words.len() / (2 * WAYS) - 1) as u64;
        let print = print.cast_unsigned();
        [print >> 32, print & u64::from(u32::MAX)].map(|half| ((half * sets) >> 32) as usize)
    }
}
