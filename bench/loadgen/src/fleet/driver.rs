//! The batches of one driver, by its schedule.

use std::time::Duration;

use tokio::time::Instant;

use crate::body;
use crate::fleet::plan::Schedule;
use crate::fleet::world::World;
use crate::random::Random;
use crate::tally::{Receipt, Tally};
use crate::trace::Trace;

/// One driver.
pub struct Driver {
    number: u64,
    name: String,
    trace: Trace,
    schedule: Schedule,
    hurries: bool,
    last_id: u64,
}

/// A batch on its way.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Its id, on sockets.
    pub id: u64,
    due: Instant,
    number: u64,
    newest_millis: i64,
    fixes: usize,
}

impl Driver {
    /// Driver number `place` of the fleet.
    pub fn new(world: &World, place: usize) -> Self {
        let number = u64::try_from(world.args.first_device + place).unwrap_or_default();
        let mut random = Random::new(world.args.seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
        Self {
            number,
            name: format!("{}{number:05}", world.args.device_prefix),
            trace: Trace::new(&world.plan.trace(&world.args), std::iter::once(number)),
            schedule: world.plan.schedule(&mut random),
            hurries: false,
            last_id: 0,
        }
    }

    /// When the next batch is due; at once for one that lost its connection.
    pub fn next_at(&self) -> Instant {
        if self.hurries { Instant::now() } else { self.schedule.next_at() }
    }

    /// The next batch goes out as soon as it can: a phone that is back sends what it holds.
    pub fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Writes the next batch, with an id for a socket.
    pub fn write(&mut self, world: &World, into: &mut Vec<u8>, with_id: bool) -> Option<Sent> {
        let due = self.next_at();
        self.hurries = false;
        self.schedule.advance();
        self.last_id += 1;
        let (_, fixes) = self.trace.next_batch()?;
        let newest_millis = fixes.last()?.fixed_at_millis;
        body::write_batch(into, &self.name, with_id.then_some(self.last_id), fixes);
        world.sending(due);
        world.receipts.borrow_mut().sent(self.number, newest_millis);
        Some(Sent { id: self.last_id, due, number: self.number, newest_millis, fixes: fixes.len() })
    }
}

impl Sent {
    /// Counts a receipt.
    pub fn stored(&self, world: &World, tally: &mut Tally, answer: &str, receipt: &Receipt) {
        world.receipts.borrow_mut().answered(self.number, self.newest_millis, Instant::now());
        tally.success(answer, self.latency(world), self.fixes, Some(receipt));
    }

    /// Counts a refusal.
    pub fn refused(&self, tally: &mut Tally, answer: &str) {
        tally.answer(answer, self.fixes);
    }

    fn latency(&self, world: &World) -> Option<Duration> {
        world.plan.measures(self.due).then(|| self.due.elapsed())
    }
}
