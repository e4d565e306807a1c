//! Simulates a whole fleet: drivers over HTTP and sockets, watchers, stalled watchers, and a reconnect storm in which
//! every connection is cut at once. One process, because the delay from a driver's receipt to a watcher's frame needs one
//! clock.
//!
//! ```text
//! open all connections -> start the schedules -> warm-up -> measurement -> (cut -> all reconnected) -> last receipts
//! ```
//!
//! Prints each phase to standard error, a JSON object per line, so that samples of the server's memory and processor
//! time can be assigned to it: `opening`, `open`, `measuring`, `cut`, `done`.

pub mod args;
pub mod connect;
pub mod driver;
pub mod frame_counter;
pub mod http_driver;
pub mod plan;
pub mod protobuf_frame;
pub mod receipts;
pub mod socket_driver;
pub mod state;
pub mod storm;
pub mod text_scan;
pub mod watcher;
pub mod ws_frame;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::args::FleetArgs;
use crate::fleet::connect::{ConnectError, Endpoint, Handshake, Opened};
use crate::fleet::driver::Driver;
use crate::fleet::plan::{now_millis, secs};
use crate::fleet::state::{FleetState, WatchedReport};
use crate::fleet::storm::StormReport;
use crate::http::Connection;
use crate::outcomes::{LatencyHistogram, LatencyQuantiles, LoadReport};

/// Number of handshakes in progress at once.
const MAX_HANDSHAKES: usize = 64;
/// Open files in addition to the connections.
const OTHER_FILES: u64 = 64;

/// Report of a run.
#[derive(Debug, Serialize)]
pub struct FleetReport {
    /// Length of the measurement.
    pub measured_secs: f64,
    /// Time from the first connection to the last.
    pub open_secs: f64,
    /// Time to open one connection.
    pub opening: LatencyQuantiles,
    /// Time from a batch's due time to its write: the delay of the load generator itself.
    pub lag: LatencyQuantiles,
    /// Batches over HTTP.
    pub posts: Option<LoadReport>,
    /// Batches over sockets.
    pub messages: Option<LoadReport>,
    /// Counts and delays of the watchers.
    pub watched: Option<WatchedReport>,
    /// Reconnects after the cut.
    pub storm: Option<StormReport>,
}

/// Connections that are open before the schedules start.
struct OpenConnections {
    posts: Vec<Connection>,
    sockets: Vec<Opened>,
    watchers: Vec<Opened>,
    took: Duration,
    latencies: LatencyHistogram,
}

/// Runs the fleet.
///
/// # Errors
/// The limit of open files is too low, or the server refuses a connection before the schedules start.
pub async fn run(args: FleetArgs) -> Result<FleetReport, Box<dyn Error>> {
    allow_open_files(args.connections())?;
    let endpoint = Endpoint::new(&args.address)?;
    let watch_endpoint = Endpoint::new(args.watch_address.as_ref().unwrap_or(&args.address))?;
    print_event("opening");
    let opening = open_all(&args, &endpoint, &watch_endpoint).await?;
    print_event("open");
    let state =
        Rc::new(FleetState::new(args, endpoint, watch_endpoint).ok_or("the histograms have impossible bounds")?);
    let OpenConnections { posts, sockets, watchers, took, latencies } = opening;
    let mut drivers: Vec<JoinHandle<()>> = Vec::new();
    let posting = posts.len();
    for (place, connection) in posts.into_iter().enumerate() {
        drivers.push(spawn_local(http_driver::drive(Rc::clone(&state), connection, Driver::new(&state, place))));
    }
    for (place, opened) in sockets.into_iter().enumerate() {
        drivers.push(spawn_local(socket_driver::drive(
            Rc::clone(&state),
            opened,
            Driver::new(&state, posting + place),
        )));
    }
    let mut others: Vec<JoinHandle<()>> =
        watchers.into_iter().map(|opened| spawn_local(watcher::watch(Rc::clone(&state), opened))).collect();
    others.extend((0..state.args.stalled).map(|_| spawn_local(watcher::watch_stalled(Rc::clone(&state)))));
    let ended_early = wait_for_end(&state).await;
    print_event("done");
    for task in drivers {
        if ended_early {
            task.abort();
        } else {
            task.await?;
        }
    }
    for task in others {
        task.abort();
    }
    Ok(report(&state, took, &latencies))
}

/// Waits for the end of the run, or until all have reconnected after the cut; returns whether it ended early.
async fn wait_for_end(state: &FleetState) -> bool {
    sleep_until(state.plan.measures_at).await;
    print_event("measuring");
    let Some(cuts_at) = state.plan.cuts_at else {
        sleep_until(state.plan.ends_at).await;
        return false;
    };
    sleep_until(cuts_at).await;
    print_event("cut");
    while Instant::now() < state.plan.ends_at {
        sleep(secs(0.1)).await;
        if state.storm.borrow().is_over() {
            return true;
        }
    }
    false
}

async fn open_all(
    args: &FleetArgs,
    endpoint: &Endpoint,
    watch_endpoint: &Endpoint,
) -> Result<OpenConnections, ConnectError> {
    let begins_at = Instant::now();
    let latencies = RefCell::new(LatencyHistogram::new().ok_or(ConnectError::Unreadable)?);
    let opened = RefCell::new(0);
    let gap = secs(1.0 / args.open_per_sec.max(1.0));
    let wait_for_turn = || {
        let due = begins_at + gap.mul_f64(f64::from(opened.replace_with(|count: &mut u32| *count + 1)));
        sleep_until(due)
    };
    let upgrade = async |endpoint: &Endpoint, handshake: &Handshake| {
        wait_for_turn().await;
        let started = Instant::now();
        let opened = endpoint.upgrade(handshake, false).await;
        latencies.borrow_mut().record(started.elapsed());
        opened
    };
    let post = async || {
        wait_for_turn().await;
        Ok::<_, ConnectError>(Connection::over(endpoint.connect(false).await?)?)
    };
    let posts = stream::iter(0..args.drivers).map(|_| post()).buffer_unordered(MAX_HANDSHAKES).try_collect().await?;
    let handshake = socket_driver::handshake(&args.address, &args.token);
    let sockets = stream::iter(0..args.sockets)
        .map(|_| upgrade(endpoint, &handshake))
        .buffer_unordered(MAX_HANDSHAKES)
        .try_collect()
        .await?;
    // Last, because nothing reads their frames until the schedules start.
    let handshake = watcher::handshake(args);
    let watchers = stream::iter(0..args.watchers)
        .map(|_| upgrade(watch_endpoint, &handshake))
        .buffer_unordered(MAX_HANDSHAKES)
        .try_collect()
        .await?;
    Ok(OpenConnections { posts, sockets, watchers, took: begins_at.elapsed(), latencies: latencies.into_inner() })
}

fn report(state: &FleetState, open_took: Duration, opening: &LatencyHistogram) -> FleetReport {
    let args = &state.args;
    let ran = state.plan.ends_at.min(Instant::now()) - state.plan.starts_at;
    let measured_secs = (state.plan.ends_at.min(Instant::now()) - state.plan.measures_at).as_secs_f64();
    // No driver is ahead of the clock by more than one batch.
    let last_fix_millis = now_millis() + i64::try_from(secs(args.every_secs).as_millis()).unwrap_or_default();
    let sent = |count, outcomes: &RefCell<crate::outcomes::OutcomeCounts>| {
        (count > 0).then(|| outcomes.borrow().report(ran, last_fix_millis))
    };
    let watched = &mut *state.watched.borrow_mut();
    let counts = std::mem::take(&mut watched.counts);
    #[expect(clippy::cast_precision_loss, reason = "below 2^52 positions")]
    let positions_per_sec = counts.positions as f64 / measured_secs.max(f64::EPSILON);
    FleetReport {
        measured_secs,
        open_secs: open_took.as_secs_f64(),
        opening: opening.quantiles(),
        lag: state.lag.borrow().quantiles(),
        posts: sent(args.drivers, &state.posts),
        messages: sent(args.sockets, &state.messages),
        watched: (args.watchers + args.stalled > 0).then(|| WatchedReport {
            positions_per_sec,
            delay: watched.delay.quantiles(),
            counts,
        }),
        storm: state.plan.cuts_at.map(|_| state.storm.borrow().report()),
    }
}

/// Raises the limit of open files to the number that is needed.
fn allow_open_files(connections: usize) -> Result<(), Box<dyn Error>> {
    let needed = u64::try_from(connections)? + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        if limit.maximum.is_some_and(|maximum| maximum < needed) {
            return Err(format!("{needed} open files are needed and the hard limit is lower: see `ulimit -Hn`").into());
        }
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

/// Prints a phase of the run to standard error.
fn print_event(event: &str) {
    eprintln!("{{\"event\":\"{event}\",\"at_millis\":{}}}", now_millis());
}
