//! Produces the batches of one driver by its schedule.

use std::time::Duration;

use tokio::time::Instant;

use crate::body;
use crate::fleet::plan::Schedule;
use crate::fleet::state::FleetState;
use crate::outcomes::{OutcomeCounts, Receipt};
use crate::random::Random;
use crate::trace::Trace;

/// Trace and schedule of one driver.
pub struct Driver {
    number: u64,
    name: String,
    trace: Trace,
    schedule: Schedule,
    sends_at_once: bool,
    last_id: u64,
}

/// Batch without an answer yet.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Message id, on sockets.
    pub id: u64,
    due: Instant,
    number: u64,
    newest_millis: i64,
    fixes: usize,
}

impl Driver {
    /// Creates driver number `place` of the fleet.
    pub fn new(state: &FleetState, place: usize) -> Self {
        let number = u64::try_from(state.args.first_device + place).unwrap_or_default();
        let mut random = Random::new(state.args.seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
        Self {
            number,
            name: format!("{}{number:05}", state.args.device_prefix),
            trace: Trace::new(&state.plan.trace(&state.args), std::iter::once(number)),
            schedule: state.plan.schedule(&mut random),
            sends_at_once: false,
            last_id: 0,
        }
    }

    /// Due time of the next batch; now after a reconnect.
    pub fn next_at(&self) -> Instant {
        if self.sends_at_once { Instant::now() } else { self.schedule.next_at() }
    }

    /// Makes the next batch due now, like a phone that sends its buffer after a reconnect.
    pub fn send_at_once(&mut self) {
        self.sends_at_once = true;
    }

    /// Encodes the next batch, with an id for a socket.
    pub fn write(&mut self, state: &FleetState, into: &mut Vec<u8>, with_id: bool) -> Option<Sent> {
        let due = self.next_at();
        self.sends_at_once = false;
        self.schedule.advance();
        self.last_id += 1;
        let (_, fixes) = self.trace.next_batch()?;
        let newest_millis = fixes.last()?.fixed_at_millis;
        body::write_batch(into, &self.name, with_id.then_some(self.last_id), fixes);
        state.record_lag(due);
        state.receipts.borrow_mut().sent(self.number, newest_millis);
        Some(Sent { id: self.last_id, due, number: self.number, newest_millis, fixes: fixes.len() })
    }
}

impl Sent {
    /// Counts the receipt.
    pub fn stored(&self, state: &FleetState, outcomes: &mut OutcomeCounts, answer: &str, receipt: &Receipt) {
        state.receipts.borrow_mut().answered(self.number, self.newest_millis, Instant::now());
        outcomes.success(answer, self.latency(state), self.fixes, Some(receipt));
    }

    /// Counts the refusal.
    pub fn refused(&self, outcomes: &mut OutcomeCounts, answer: &str) {
        outcomes.answer(answer, self.fixes);
    }

    fn latency(&self, state: &FleetState) -> Option<Duration> {
        state.plan.is_measured(self.due).then(|| self.due.elapsed())
    }
}
