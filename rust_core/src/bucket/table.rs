//! Many buckets in memory that was bounded at the start.
//!
//! A bucket has a fingerprint of 64 bits of its key, made with a secret of the process, and may lie in either of two
//! sets of eight. A slot whose bucket is full again is free: nothing has to be swept, and nothing is lost by taking it.
//! With twice as many slots as keys, both sets of a key are hardly ever taken.
//!
//! When they are, the one of the sixteen that is nearest to being full makes room, and is counted. So a drained bucket
//! stays where nearly full ones can go: to be rid of it, an attacker has to drain fifteen others further, which cost as
//! many takes, and cannot know which.

use std::hash::{BuildHasher, RandomState};

use super::{Left, Rate, Verdict};

const WAYS: usize = 8;
const SLOTS_PER_KEY: usize = 2;

/// The buckets of one process.
pub struct Buckets {
    prints: Box<[[u64; WAYS]]>,
    full_at_micros: Box<[[i64; WAYS]]>,
    secret: RandomState,
    evicted: u64,
}

/// A cost that shall be taken from one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// What the bucket holds.
    pub rate: Rate,
    /// Which bucket: from `Buckets::print`.
    pub print: u64,
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

#[expect(clippy::indexing_slicing, reason = "sets come from `sets_of`, ways from enumerating a set")]
impl Buckets {
    /// Room for `max_keys` buckets that are not full. The memory is asked for at once, and used as keys come.
    pub fn new(max_keys: usize) -> Self {
        let sets = (max_keys * SLOTS_PER_KEY).div_ceil(WAYS).clamp(1, u32::MAX as usize);
        Self {
            prints: vec![[0; WAYS]; sets].into_boxed_slice(),
            full_at_micros: vec![[0; WAYS]; sets].into_boxed_slice(),
            secret: RandomState::new(),
            evicted: 0,
        }
    }

    /// The fingerprint of a key. Two of a million keys share a bucket once in 37 million tables.
    pub fn print(&self, policy: &str, scope: &str, key: &str) -> u64 {
        self.secret.hash_one((policy, scope, key))
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
            let before = found.map_or(0, |slot| self.full_at_micros[slot.set][slot.way]);
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
    pub fn left(&self, rate: &Rate, print: u64, now_micros: i64) -> Left {
        rate.left(self.full_at(print), now_micros)
    }

    /// Drains a bucket at least so far that it is full at `full_at_micros`: what others took of a shared one.
    pub fn settle(&mut self, print: u64, full_at_micros: i64, now_micros: i64) {
        let found = self.find(print);
        let before = found.map_or(0, |slot| self.full_at_micros[slot.set][slot.way]);
        if full_at_micros > before {
            self.put(found, print, full_at_micros, now_micros);
        }
    }

    /// Buckets that are not full. Looks at all: about a millisecond for a million slots.
    pub fn drained(&self, now_micros: i64) -> usize {
        self.full_at_micros.as_flattened().iter().filter(|full_at| **full_at > now_micros).count()
    }

    /// Buckets that were forgotten before they were full, since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Memory of the table.
    pub fn size_bytes(&self) -> usize {
        self.prints.len() * WAYS * (size_of::<u64>() + size_of::<i64>())
    }

    /// A bucket that is not there is full.
    fn full_at(&self, print: u64) -> i64 {
        self.find(print).map_or(0, |slot| self.full_at_micros[slot.set][slot.way])
    }

    fn find(&self, print: u64) -> Option<Slot> {
        self.sets_of(print)
            .into_iter()
            .find_map(|set| self.prints[set].iter().position(|held| *held == print).map(|way| Slot { set, way }))
    }

    fn put(&mut self, found: Option<Slot>, print: u64, full_at_micros: i64, now_micros: i64) {
        if full_at_micros <= now_micros {
            return; // Full: as good as not there.
        }
        let slot = found.unwrap_or_else(|| self.make_room(print, now_micros));
        self.prints[slot.set][slot.way] = print;
        self.full_at_micros[slot.set][slot.way] = full_at_micros;
    }

    /// A free slot in the emptier of two sets, else the one of the bucket that loses least.
    fn make_room(&mut self, print: u64, now_micros: i64) -> Slot {
        let is_free = |full_at_micros: &i64| *full_at_micros <= now_micros;
        let [first, second] = self.sets_of(print);
        let free = |set: usize| self.full_at_micros[set].iter().filter(|full_at| is_free(full_at)).count();
        let set = if free(second) > free(first) { second } else { first };
        if let Some(way) = self.full_at_micros[set].iter().position(is_free) {
            return Slot { set, way };
        }
        self.evicted += 1;
        let mut least = Slot { set, way: 0 };
        for set in [first, second] {
            for (way, full_at_micros) in self.full_at_micros[set].iter().enumerate() {
                if *full_at_micros < self.full_at_micros[least.set][least.way] {
                    least = Slot { set, way };
                }
            }
        }
        least
    }

    /// The halves of a fingerprint, each spread over all sets.
    fn sets_of(&self, print: u64) -> [usize; 2] {
        let sets = self.prints.len() as u64;
        [print >> 32, print & u64::from(u32::MAX)].map(|half| ((half * sets) >> 32) as usize)
    }
}
