//! What one connection sends, whatever it is made of: batches of its own devices, some of them twice.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use crate::args::Load;
use crate::body;
use crate::pace::Pace;
use crate::random::Random;
use crate::tally::Tally;
use crate::trace::Trace;

/// A run under way. One thread serves all connections, so nothing is locked.
#[derive(Clone, Debug)]
pub struct Run {
    /// When requests are due.
    pub pace: Rc<RefCell<Pace>>,
    /// What came back.
    pub tally: Rc<RefCell<Tally>>,
}

/// The batches of one connection.
pub struct Sender {
    trace: Trace,
    names: Vec<(u64, String)>,
    random: Random,
    duplicate_share: f64,
    with_ids: bool,
    last_id: u64,
    again: bool,
    /// The batch that is to be sent.
    pub body: Vec<u8>,
    /// How many fixes it holds.
    pub fixes: usize,
}

impl Sender {
    /// The batches of connection number `connection`; with ids for a socket.
    pub fn new(load: &Load, connection: usize, with_ids: bool) -> Self {
        let numbers = || load.trace.numbers(connection, load.connections);
        let options = load.trace.options();
        Self {
            trace: Trace::new(&options, numbers()),
            names: numbers().map(|number| (number, load.trace.name(number))).collect(),
            random: Random::new(
                options.seed.wrapping_add(1_000_003).wrapping_mul(u64::try_from(connection + 1).unwrap_or(1)),
            ),
            duplicate_share: load.duplicate_share,
            with_ids,
            last_id: 0,
            again: false,
            body: Vec::with_capacity(8 * 1024),
            fixes: 0,
        }
    }

    /// Makes the next batch ready in `body` and returns its id; `None` for a connection without devices.
    pub fn prepare(&mut self) -> Option<u64> {
        if self.again {
            // Sent again as it was, as by a phone that missed the receipt.
            self.again = false;
            return Some(self.last_id);
        }
        let (number, fixes) = self.trace.next_batch()?;
        let place = self.names.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, name) = self.names.get(place)?;
        self.last_id += 1;
        self.fixes = fixes.len();
        self.body.clear();
        body::write_batch(&mut self.body, name, self.with_ids.then_some(self.last_id), fixes);
        self.again = self.duplicate_share > 0.0 && self.random.chance(self.duplicate_share);
        Some(self.last_id)
    }

    /// A time after every fix made so far.
    pub fn last_fix_millis(&self) -> i64 {
        self.trace.last_fix_millis()
    }
}

impl Run {
    /// Waits for the next request's time and returns it; `None` when the run is over.
    ///
    /// Timers wake within a millisecond after the time, and latency counts from the time itself: the open model
    /// overstates by that much rather than hide a delay.
    pub async fn next_due(&self) -> Option<Instant> {
        let due = self.pace.borrow_mut().take(Instant::now())?;
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        Some(due)
    }
}
