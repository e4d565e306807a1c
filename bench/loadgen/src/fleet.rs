//! A whole fleet in one process: drivers over HTTP and over sockets, watchers, deaf ones, and a storm in which every
//! socket is cut at once. In one process, because the delay from a driver's receipt to a watcher's frame needs one clock.
//!
//! ```text
//! open every connection -> the schedule begins -> warm-up -> measured -> (cut -> everyone back) -> receipts awaited
//! ```
//!
//! What is reached is said on standard error, a JSON object per line, so that whoever watches the server's memory and
//! processor time knows what they belong to: `opening`, `open`, `measuring`, `cut`, `done`.

pub mod args;
pub mod columns;
pub mod connect;
pub mod count;
pub mod driver;
pub mod plan;
pub mod post;
pub mod receipts;
pub mod scan;
pub mod socket;
pub mod storm;
pub mod watcher;
pub mod wire;
pub mod world;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::args::Fleet;
use crate::fleet::connect::{Door, Fault, Handshake, Opened};
use crate::fleet::driver::Driver;
use crate::fleet::plan::{now_millis, secs};
use crate::fleet::storm::StormReport;
use crate::fleet::world::{WatchedReport, World};
use crate::http::Connection;
use crate::tally::{Latencies, Latency, Report as Sent};

/// Handshakes under way at once.
const OPENING_AT_ONCE: usize = 64;
/// Files that are open besides connections.
const OTHER_FILES: u64 = 64;

/// What a run writes.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Length of the measurement.
    pub measured_secs: f64,
    /// From the first connection to the last.
    pub open_secs: f64,
    /// Opening one.
    pub opening: Latency,
    /// From when a batch was due to when it was written: how late the load generator itself is.
    pub lag: Latency,
    /// Batches over HTTP.
    pub posts: Option<Sent>,
    /// Batches over sockets.
    pub messages: Option<Sent>,
    /// What the watchers saw.
    pub watched: Option<WatchedReport>,
    /// How everyone came back.
    pub storm: Option<StormReport>,
}

/// What is open before the clock starts.
struct Opening {
    posts: Vec<Connection>,
    sockets: Vec<Opened>,
    watchers: Vec<Opened>,
    took: Duration,
    latencies: Latencies,
}

/// Runs the fleet.
///
/// # Errors
/// There may not be that many connections, or the server refuses one of them before the clock starts.
pub async fn run(args: Fleet) -> Result<Report, Box<dyn Error>> {
    allow_open_files(args.connections())?;
    let door = Door::new(&args.address)?;
    let watch_door = Door::new(args.watch_address.as_ref().unwrap_or(&args.address))?;
    tell("opening");
    let opening = open_all(&args, &door, &watch_door).await?;
    tell("open");
    let world = Rc::new(World::new(args, door, watch_door).ok_or("the histograms have impossible bounds")?);
    let Opening { posts, sockets, watchers, took, latencies } = opening;
    let mut drivers: Vec<JoinHandle<()>> = Vec::new();
    let posting = posts.len();
    for (place, connection) in posts.into_iter().enumerate() {
        drivers.push(spawn_local(post::drive(Rc::clone(&world), connection, Driver::new(&world, place))));
    }
    for (place, opened) in sockets.into_iter().enumerate() {
        drivers.push(spawn_local(socket::drive(Rc::clone(&world), opened, Driver::new(&world, posting + place))));
    }
    let mut others: Vec<JoinHandle<()>> =
        watchers.into_iter().map(|opened| spawn_local(watcher::watch(Rc::clone(&world), opened))).collect();
    others.extend((0..world.args.deaf).map(|_| spawn_local(watcher::be_deaf(Rc::clone(&world)))));
    let ended_early = follow(&world).await;
    tell("done");
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
    Ok(report(&world, took, &latencies))
}

/// Waits for the end, or until everyone is back after a cut, and tells what is reached; whether it ended early.
async fn follow(world: &World) -> bool {
    sleep_until(world.plan.measures_at).await;
    tell("measuring");
    let Some(cuts_at) = world.plan.cuts_at else {
        sleep_until(world.plan.ends_at).await;
        return false;
    };
    sleep_until(cuts_at).await;
    tell("cut");
    while Instant::now() < world.plan.ends_at {
        sleep(secs(0.1)).await;
        if world.storm.borrow().is_over() {
            return true;
        }
    }
    false
}

async fn open_all(args: &Fleet, door: &Door, watch_door: &Door) -> Result<Opening, Fault> {
    let begins_at = Instant::now();
    let latencies = RefCell::new(Latencies::new().ok_or(Fault::Unreadable)?);
    let opened = RefCell::new(0);
    let gap = secs(1.0 / args.open_per_sec.max(1.0));
    let turn = || {
        let due = begins_at + gap.mul_f64(f64::from(opened.replace_with(|count: &mut u32| *count + 1)));
        sleep_until(due)
    };
    let upgrade = async |door: &Door, handshake: &Handshake| {
        turn().await;
        let started = Instant::now();
        let opened = door.upgrade(handshake, false).await;
        latencies.borrow_mut().record(started.elapsed());
        opened
    };
    let post = async || {
        turn().await;
        Ok::<_, Fault>(Connection::over(door.connect(false).await?)?)
    };
    let posts = stream::iter(0..args.drivers).map(|_| post()).buffer_unordered(OPENING_AT_ONCE).try_collect().await?;
    let handshake = socket::handshake(&args.address, &args.token);
    let sockets = stream::iter(0..args.sockets)
        .map(|_| upgrade(door, &handshake))
        .buffer_unordered(OPENING_AT_ONCE)
        .try_collect()
        .await?;
    // Last, because until the clock starts nobody reads what they are sent.
    let handshake = watcher::handshake(args);
    let watchers = stream::iter(0..args.watchers)
        .map(|_| upgrade(watch_door, &handshake))
        .buffer_unordered(OPENING_AT_ONCE)
        .try_collect()
        .await?;
    Ok(Opening { posts, sockets, watchers, took: begins_at.elapsed(), latencies: latencies.into_inner() })
}

fn report(world: &World, open_took: Duration, opening: &Latencies) -> Report {
    let args = &world.args;
    let ran = world.plan.ends_at.min(Instant::now()) - world.plan.starts_at;
    let measured_secs = (world.plan.ends_at.min(Instant::now()) - world.plan.measures_at).as_secs_f64();
    // Nobody is ahead of the clock by more than the batch that went out early.
    let last_fix_millis = now_millis() + i64::try_from(secs(args.every_secs).as_millis()).unwrap_or_default();
    let sent =
        |count, tally: &RefCell<crate::tally::Tally>| (count > 0).then(|| tally.borrow().report(ran, last_fix_millis));
    let watched = &mut *world.watched.borrow_mut();
    let counts = std::mem::take(&mut watched.counts);
    #[expect(clippy::cast_precision_loss, reason = "nobody watches 2^52 positions")]
    let positions_per_sec = counts.positions as f64 / measured_secs.max(f64::EPSILON);
    Report {
        measured_secs,
        open_secs: open_took.as_secs_f64(),
        opening: opening.quantiles(),
        lag: world.lag.borrow().quantiles(),
        posts: sent(args.drivers, &world.posts),
        messages: sent(args.sockets, &world.messages),
        watched: (args.watchers + args.deaf > 0).then(|| WatchedReport {
            positions_per_sec,
            delay: watched.delay.quantiles(),
            counts,
        }),
        storm: world.plan.cuts_at.map(|_| world.storm.borrow().report()),
    }
}

/// Raises the limit of open files as far as it is needed and allowed.
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

fn tell(event: &str) {
    eprintln!("{{\"event\":\"{event}\",\"at_millis\":{}}}", now_millis());
}
