//! State shared by all drivers and watchers of a fleet. One thread runs all of them, so nothing is locked.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::args::FleetArgs;
use crate::fleet::connect::{Endpoint, Handshake, Opened};
use crate::fleet::frame_counter::Frame;
use crate::fleet::plan::{Plan, now_millis, secs};
use crate::fleet::receipts::{Delay, ReceiptTimes};
use crate::fleet::storm::Storm;
use crate::fleet::text_scan::{Sample, Topic};
use crate::outcomes::{LatencyHistogram, LatencyQuantiles, OutcomeCounts};
use crate::random::Random;

/// Size of the read buffer that all connections share.
const READ_BYTES: usize = 256 * 1024;
const RETRY_SECS: f64 = 0.25;

/// Options, schedule, endpoints and counters of a run.
pub struct FleetState {
    /// The command line.
    pub args: FleetArgs,
    /// Start, measurement, cut and end.
    pub plan: Plan,
    /// Server that drivers send to.
    pub endpoint: Endpoint,
    /// Server that watchers connect to.
    pub watch_endpoint: Endpoint,
    /// Batches over HTTP.
    pub posts: RefCell<OutcomeCounts>,
    /// Batches over sockets.
    pub messages: RefCell<OutcomeCounts>,
    /// Time from a batch's due time to its write.
    pub lag: RefCell<LatencyHistogram>,
    /// Arrival times of receipts.
    pub receipts: RefCell<ReceiptTimes>,
    /// Counts and delays of the watchers.
    pub watched: RefCell<Watched>,
    /// Reconnects after the cut.
    pub storm: RefCell<Storm>,
    /// Read buffer of all connections.
    pub buffer: RefCell<Vec<u8>>,
    /// Jitter of reconnects.
    pub random: RefCell<Random>,
}

/// Counts and delays of all watchers.
pub struct Watched {
    /// Time from a receipt to the end of the frame with its newest fix.
    pub delay: LatencyHistogram,
    /// Frames, positions and losses.
    pub counts: Counts,
}

/// Counts during the measurement; `snapshots`, `lost` and `closes` are of the whole run.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// Positions in `moved` frames.
    pub positions: u64,
    /// Frames by topic.
    pub frames: BTreeMap<Topic, u64>,
    /// Payload bytes of the frames.
    pub bytes: u64,
    /// Frames that arrived before the receipt; they count as a delay of zero.
    pub before_receipt: u64,
    /// Samples whose batch is unknown.
    pub unmatched: u64,
    /// Complete snapshots.
    pub snapshots: u64,
    /// Sockets that the server closed or that broke.
    pub lost: u64,
    /// Lost sockets by the server's close code.
    pub closes: BTreeMap<u16, u64>,
    /// Connections of stalled watchers.
    pub stalled_connections: u64,
}

/// Report on the watchers.
#[derive(Debug, Serialize)]
pub struct WatchedReport {
    /// Positions per second over all watchers.
    pub positions_per_sec: f64,
    /// Time from a receipt to the end of the frame.
    pub delay: LatencyQuantiles,
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
    /// Counts a frame; outside the measurement only the end of a snapshot counts.
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

impl FleetState {
    /// Creates the state of a run that starts now. Never `None`: the bounds of the histograms are valid constants.
    pub fn new(args: FleetArgs, endpoint: Endpoint, watch_endpoint: Endpoint) -> Option<Self> {
        Some(Self {
            plan: Plan::new(&args, Instant::now()),
            endpoint,
            watch_endpoint,
            posts: RefCell::new(OutcomeCounts::new()?),
            messages: RefCell::new(OutcomeCounts::new()?),
            lag: RefCell::new(LatencyHistogram::new()?),
            receipts: RefCell::new(ReceiptTimes::new(args.first_device, args.drivers + args.sockets)),
            watched: RefCell::new(Watched { delay: LatencyHistogram::new()?, counts: Counts::default() }),
            storm: RefCell::new(Storm::new(args.sockets, args.watchers)?),
            buffer: RefCell::new(vec![0; READ_BYTES]),
            random: RefCell::new(Random::new(args.seed ^ 0x5743_4F4D)),
            args,
        })
    }

    /// Records the delay between a batch's due time and now.
    pub fn record_lag(&self, due: Instant) {
        if self.plan.is_measured(due) {
            self.lag.borrow_mut().record(due.elapsed());
        }
    }

    /// Records the delay of a position whose frame was complete at `at`.
    pub fn record_delay(&self, sample: Sample, at: Instant) {
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

    /// Reconnects a lost WebSocket after a random delay, with retries; `None` when the run is over.
    pub async fn reconnect(&self, endpoint: &Endpoint, handshake: &Handshake) -> Option<Opened> {
        let pause = secs(self.args.jitter_secs * self.random.borrow_mut().unit());
        sleep(pause).await;
        while Instant::now() < self.plan.ends_at {
            match endpoint.upgrade(handshake, false).await {
                Ok(opened) => return Some(opened),
                Err(fault) => self.storm.borrow_mut().refused(&fault),
            }
            sleep(secs(RETRY_SECS)).await;
        }
        None
    }

    /// Returns at the time of the cut; never if no cut is planned or it is over.
    pub async fn wait_for_cut(&self, was_cut: bool) {
        match self.plan.cuts_at {
            Some(at) if !was_cut => sleep_until(at).await,
            _ => std::future::pending().await,
        }
    }
}
