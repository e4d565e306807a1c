//! Generates the load of the benchmarks; see `bench/README.md`.
//!
//! Single-threaded, so that it leaves the other cores to the server: one core limits the load.

#![allow(clippy::print_stdout, reason = "the report goes to standard output")]

pub mod args;
pub mod arrivals;
pub mod body;
pub mod fleet;
pub mod http;
pub mod outcomes;
pub mod random;
pub mod rows;
pub mod sender;
pub mod trace;
pub mod ws;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Instant;

use args::{HttpArgs, LoadArgs, Mode, WsArgs};
use arrivals::Arrivals;
use outcomes::{LoadReport, OutcomeCounts};
use sender::{Run, Sender};

/// Runs the mode of the command line.
///
/// # Errors
/// The server cannot be reached, or a file cannot be written.
pub fn run(mode: Mode) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    match mode {
        Mode::Rows(args) => println!("{}", serde_json::to_string(&rows::write(&args)?)?),
        Mode::Http(args) => {
            let as_json = args.load.json;
            show(&tasks.block_on(&runtime, over_http(args))?, as_json)?;
        }
        Mode::Ws(args) => {
            let as_json = args.load.json;
            show(&tasks.block_on(&runtime, over_sockets(args))?, as_json)?;
        }
        Mode::Fleet(args) => {
            let report = tasks.block_on(&runtime, fleet::run(args))?;
            println!("{}", serde_json::to_string(&report)?);
        }
    }
    Ok(())
}

async fn over_http(args: HttpArgs) -> Result<LoadReport, Box<dyn Error>> {
    let mut connections = Vec::new();
    for number in 0..args.load.connections {
        let sender = Sender::new(&args.load, number, false);
        connections.push((http::Connection::open(&args.load.address).await?, sender));
    }
    let args = Rc::new(args);
    measure(&args.load, |run| {
        let start = |(connection, sender)| {
            let (args, run) = (Rc::clone(&args), run.clone());
            spawn_local(async move { http::send_all(&args, connection, sender, run).await })
        };
        connections.into_iter().map(start).collect()
    })
    .await
}

async fn over_sockets(args: WsArgs) -> Result<LoadReport, Box<dyn Error>> {
    let mut sockets = Vec::new();
    for number in 0..args.load.connections {
        sockets.push((ws::open(&args).await?, Sender::new(&args.load, number, true)));
    }
    let args = Rc::new(args);
    measure(&args.load, |run| {
        let start = |(socket, sender)| {
            let (args, run) = (Rc::clone(&args), run.clone());
            spawn_local(async move { ws::send_all(&args, socket, sender, run).await })
        };
        sockets.into_iter().map(start).collect()
    })
    .await
}

/// Runs the senders over their open connections and returns the report when the last one has finished.
async fn measure(
    load: &LoadArgs,
    start: impl FnOnce(&Run) -> Vec<JoinHandle<i64>>,
) -> Result<LoadReport, Box<dyn Error>> {
    let outcomes = OutcomeCounts::new().ok_or("the histogram has impossible bounds")?;
    let starts_at = Instant::now();
    let duration = Duration::try_from_secs_f64(load.duration_secs)?;
    let arrivals = Arrivals::new(starts_at, duration, load.batches, load.rate, load.trace.seed);
    let run = Run { arrivals: Rc::new(RefCell::new(arrivals)), outcomes: Rc::new(RefCell::new(outcomes)) };
    let mut last_fix_millis = load.trace.options().first_fix_millis;
    for sender in start(&run) {
        last_fix_millis = last_fix_millis.max(sender.await?);
    }
    let report = run.outcomes.borrow().report(starts_at.elapsed(), last_fix_millis);
    Ok(report)
}

fn show(report: &LoadReport, as_json: bool) -> Result<(), serde_json::Error> {
    if as_json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    let LoadReport { secs, requests, requests_per_sec, fixes, latency, .. } = report;
    println!("{requests} requests in {secs:.1} s, {requests_per_sec:.0}/s; answers {:?}", report.answers);
    println!("fixes: {} stored, {} duplicate, {} rejected", fixes.stored, fixes.duplicate, fixes.rejected);
    println!(
        "latency: p50 {:.1} ms, p95 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
        latency.p50_millis, latency.p95_millis, latency.p99_millis, latency.p999_millis, latency.max_millis
    );
    if !report.errors.is_empty() {
        println!("errors: {:?}", report.errors);
    }
    Ok(())
}
