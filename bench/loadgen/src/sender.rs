//! Produces the batches of one connection for its own devices, some of them twice.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use crate::args::LoadArgs;
use crate::arrivals::Arrivals;
use crate::body;
use crate::outcomes::OutcomeCounts;
use crate::random::Random;
use crate::trace::Trace;

/// State shared by all connections of a run. One thread runs all of them, so nothing is locked.
#[derive(Clone, Debug)]
pub struct Run {
    /// Due times of requests.
    pub arrivals: Rc<RefCell<Arrivals>>,
    /// Counts of the answers.
    pub outcomes: Rc<RefCell<OutcomeCounts>>,
}

/// Produces the batches of one connection.
pub struct Sender {
    trace: Trace,
    names: Vec<(u64, String)>,
    random: Random,
    duplicate_share: f64,
    with_ids: bool,
    last_id: u64,
    repeats: bool,
    /// Encoded batch.
    pub body: Vec<u8>,
    /// Number of fixes in the batch.
    pub fixes: usize,
}

impl Sender {
    /// Creates the sender of connection number `connection`; `with_ids` for a socket.
    pub fn new(load: &LoadArgs, connection: usize, with_ids: bool) -> Self {
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
            repeats: false,
            body: Vec::with_capacity(8 * 1024),
            fixes: 0,
        }
    }

    /// Encodes the next batch into `body` and returns its id; `None` for a connection without devices.
    pub fn prepare(&mut self) -> Option<u64> {
        if self.repeats {
            // The same bytes again, like a phone that missed the receipt.
            self.repeats = false;
            return Some(self.last_id);
        }
        let (number, fixes) = self.trace.next_batch()?;
        let place = self.names.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, name) = self.names.get(place)?;
        self.last_id += 1;
        self.fixes = fixes.len();
        self.body.clear();
        body::write_batch(&mut self.body, name, self.with_ids.then_some(self.last_id), fixes);
        self.repeats = self.duplicate_share > 0.0 && self.random.chance(self.duplicate_share);
        Some(self.last_id)
    }

    /// Time after every fix so far.
    pub fn last_fix_millis(&self) -> i64 {
        self.trace.last_fix_millis()
    }
}

impl Run {
    /// Waits until the next request is due and returns its due time; `None` when the run is over.
    ///
    /// Timers fire up to a millisecond late, and latency counts from the due time: the open model overstates latency
    /// by that much.
    pub async fn next_due(&self) -> Option<Instant> {
        let due = self.arrivals.borrow_mut().next_due(Instant::now())?;
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        Some(due)
    }
}
