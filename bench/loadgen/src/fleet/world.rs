//! What everyone of a fleet shares. One thread serves all of them, so nothing is locked.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::args::Fleet;
use crate::fleet::connect::{Door, Fault, Handshake, Opened};
use crate::fleet::count::Frame;
use crate::fleet::plan::{Plan, now_millis, secs};
use crate::fleet::receipts::{Delay, Receipts};
use crate::fleet::scan::{Sample, Topic};
use crate::fleet::storm::Storm;
use crate::random::Random;
use crate::tally::{Latencies, Latency, Tally};

/// Bytes read from the kernel at once, by whichever watcher has some.
const READ_BYTES: usize = 256 * 1024;
const AGAIN_SECS: f64 = 0.25;

/// The run.
pub struct World {
    /// The command line.
    pub args: Fleet,
    /// The times.
    pub plan: Plan,
    /// Where drivers send to.
    pub door: Door,
    /// Where watchers look.
    pub watch_door: Door,
    /// Batches over HTTP.
    pub posts: RefCell<Tally>,
    /// Batches over sockets.
    pub messages: RefCell<Tally>,
    /// How long after it was due a batch was sent: what the load generator itself is late.
    pub lag: RefCell<Latencies>,
    /// When receipts came.
    pub receipts: RefCell<Receipts>,
    /// What was watched.
    pub watched: RefCell<Watched>,
    /// How everyone came back.
    pub storm: RefCell<Storm>,
    /// The buffer that everything is read into.
    pub buffer: RefCell<Vec<u8>>,
    /// Spreads what comes back.
    pub random: RefCell<Random>,
}

/// What all watchers saw.
pub struct Watched {
    /// From a receipt to the end of the frame that shows its newest fix.
    pub delay: Latencies,
    /// Counts.
    pub counts: Counts,
}

/// Counts of what watchers saw while it was measured; `lost` and `closes` of the whole run.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// Positions in `moved` frames.
    pub positions: u64,
    /// Frames by topic.
    pub frames: BTreeMap<Topic, u64>,
    /// Bytes of their payload.
    pub bytes: u64,
    /// Frames that overtook the receipt; they count as no delay at all.
    pub before_receipt: u64,
    /// Samples whose batch is not known.
    pub unmatched: u64,
    /// Snapshots of the whole run.
    pub snapshots: u64,
    /// Sockets that were not closed by us.
    pub lost: u64,
    /// Of these, by the server's close code.
    pub closes: BTreeMap<u16, u64>,
    /// Times a deaf one was connected.
    pub deaf_connections: u64,
}

/// What is reported of watching.
#[derive(Debug, Serialize)]
pub struct WatchedReport {
    /// Positions per second, all watchers together.
    pub positions_per_sec: f64,
    /// From a receipt to the end of the frame.
    pub delay: Latency,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Serialize for Topic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Snapshot => "snapshot",
            Self::Moved => "moved",
            Self::Heartbeat => "heartbeat",
            Self::Other => "other",
        })
    }
}

impl Counts {
    /// Counts a frame; one that is not measured only if it ends a snapshot.
    pub fn frame(&mut self, frame: Frame, is_measured: bool) {
        if frame.topic == Topic::Snapshot && !frame.has_more {
            self.snapshots += 1;
        }
        if is_measured {
            *self.frames.entry(frame.topic).or_default() += 1;
            self.bytes += frame.bytes;
            self.positions += if frame.topic == Topic::Moved { frame.positions } else { 0 };
        }
    }
}

impl World {
    /// A run that starts now. `None` is impossible: the histograms' bounds are constants that fit.
    pub fn new(args: Fleet, door: Door, watch_door: Door) -> Option<Self> {
        Some(Self {
            plan: Plan::new(&args, Instant::now()),
            door,
            watch_door,
            posts: RefCell::new(Tally::new()?),
            messages: RefCell::new(Tally::new()?),
            lag: RefCell::new(Latencies::new()?),
            receipts: RefCell::new(Receipts::new(args.first_device, args.drivers + args.sockets)),
            watched: RefCell::new(Watched { delay: Latencies::new()?, counts: Counts::default() }),
            storm: RefCell::new(Storm::new(args.sockets, args.watchers)?),
            buffer: RefCell::new(vec![0; READ_BYTES]),
            random: RefCell::new(Random::new(args.seed ^ 0x5743_4F4D)),
            args,
        })
    }

    /// Counts how late a batch is sent.
    pub fn sending(&self, due: Instant) {
        if self.plan.measures(due) {
            self.lag.borrow_mut().record(due.elapsed());
        }
    }

    /// Counts the delay of a watched position whose frame was whole at `at`.
    pub fn seen(&self, sample: Sample, at: Instant) {
        let delay = self.receipts.borrow_mut().delay(sample, at);
        let watched = &mut *self.watched.borrow_mut();
        match delay {
            Delay::After(delay) => watched.delay.record(delay),
            Delay::BeforeReceipt => {
                watched.counts.before_receipt += 1;
                watched.delay.record(std::time::Duration::ZERO);
            }
            Delay::Unknown if self.args.stamped => {
                let millis = u64::try_from(now_millis() - sample.fixed_at_millis).unwrap_or_default();
                watched.delay.record(std::time::Duration::from_millis(millis));
            }
            Delay::Unknown => watched.counts.unmatched += 1,
        }
    }

    /// Opens a lost WebSocket again, spread over the jitter and then until it is open; `None` when the run is over.
    pub async fn come_back(&self, door: &Door, handshake: &Handshake) -> Option<Opened> {
        let pause = secs(self.args.jitter_secs * self.random.borrow_mut().unit());
        sleep(pause).await;
        while Instant::now() < self.plan.ends_at {
            match door.upgrade(handshake, false).await {
                Ok(opened) => return Some(opened),
                Err(fault) => self.storm.borrow_mut().refused(&fault),
            }
            sleep(secs(AGAIN_SECS)).await;
        }
        None
    }

    /// Returns when every connection is cut; never, if that is not in the plan or over.
    pub async fn cut(&self, was_cut: bool) {
        match self.plan.cuts_at {
            Some(at) if !was_cut => sleep_until(at).await,
            _ => std::future::pending().await,
        }
    }
}

/// A short name of a fault, to count by.
pub fn fault_name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Io(_) => "connect",
        Fault::Refused(_) => "refused",
        Fault::Unreadable => "unreadable",
        Fault::Late(_) => "late",
    }
}
