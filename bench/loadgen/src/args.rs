//! Command line of all modes.

use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand};

use crate::fleet::args::FleetArgs;
use crate::trace::TraceOptions;

/// Sends batches of fixes and measures the answers.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// Mode.
    #[command(subcommand)]
    pub mode: Mode,
}

/// Modes.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// POST a batch per request over keep-alive connections.
    Http(HttpArgs),
    /// Send a batch per message over WebSockets; receipts are matched by id.
    Ws(WsArgs),
    /// Simulate a fleet by the clock: drivers over HTTP and sockets, watchers, stalled watchers, a reconnect storm.
    Fleet(FleetArgs),
    /// Write the same fixes as rows in PostgreSQL's binary COPY format, without sending them.
    Rows(RowsArgs),
}

/// Options of `http`.
#[derive(Debug, Args)]
pub struct HttpArgs {
    /// Options shared by `http` and `ws`.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Path to post to (default: /api/driver/location, with --empty /bench/empty).
    #[arg(long)]
    pub path: Option<String>,
    /// The path answers a constant; receipts are not counted.
    #[arg(long)]
    pub empty: bool,
}

/// Options of `ws`.
#[derive(Debug, Args)]
pub struct WsArgs {
    /// Options shared by `http` and `ws`.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Path of the socket.
    #[arg(long, default_value = "/ws")]
    pub path: String,
    /// Batches in flight per socket; with --rate it is one.
    #[arg(long, default_value_t = 1, conflicts_with = "rate")]
    pub inflight: usize,
}

/// Options of `rows`.
#[derive(Debug, Args)]
pub struct RowsArgs {
    /// Options of the generated fixes.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Number of batches to write.
    #[arg(long)]
    pub batches: u64,
    /// Rows per COPY stream; the file holds one stream after another.
    #[arg(long, default_value_t = 5_000)]
    pub per_copy: usize,
    /// Output file.
    #[arg(long)]
    pub out: std::path::PathBuf,
}

/// Options shared by `http` and `ws`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Host and port of the server.
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub address: String,
    /// An ingest key. From the environment, because a command line can be read by every user.
    #[arg(long, env = "FLEETWIRE_TOKEN", hide_env_values = true)]
    pub token: String,
    /// Number of connections or sockets; each has its own devices.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Duration of the sending; requests in flight at its end are awaited.
    #[arg(long, default_value_t = 10.0)]
    pub duration_secs: f64,
    /// Number of requests after which the run ends early.
    #[arg(long, default_value_t = u64::MAX)]
    pub batches: u64,
    /// Requests per second, independent of the answers (open model); without it each connection sends its next
    /// request upon the answer (closed model).
    #[arg(long)]
    pub rate: Option<f64>,
    /// Share of the batches that are sent again right after their receipt.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub duplicate_share: f64,
    /// Write the report as JSON to standard output.
    #[arg(long)]
    pub json: bool,
    /// Options of the generated fixes.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// Options of the generated fixes.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Number of devices, which send in turn.
    #[arg(long, default_value_t = 10_000)]
    pub devices: usize,
    /// Prefix of device names, which end with the device's number.
    #[arg(long, default_value = "bench-")]
    pub device_prefix: String,
    /// Fixes per batch.
    #[arg(long, default_value_t = 50)]
    pub batch_size: usize,
    /// Time of the first fix, milliseconds since 1970 (default: two days ago).
    #[arg(long)]
    pub first_fix_millis: Option<i64>,
    /// Interval between the fixes of a device.
    #[arg(long, default_value_t = 1_000)]
    pub fix_interval_millis: i64,
    /// Share of the batches that are late.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub late_share: f64,
    /// Lateness of late batches.
    #[arg(long, default_value_t = 3_600)]
    pub late_secs: i64,
    /// Seed of the fixes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl TraceArgs {
    /// Returns the options of the trace generator.
    pub fn options(&self) -> TraceOptions {
        TraceOptions {
            seed: self.seed,
            batch_fixes: self.batch_size.max(1),
            first_fix_millis: self.first_fix_millis.unwrap_or_else(two_days_ago_millis),
            fix_interval_millis: self.fix_interval_millis,
            late_share: self.late_share,
            late_millis: self.late_secs * 1_000,
        }
    }

    /// Returns the numbers of the devices of one connection.
    pub fn numbers(&self, connection: usize, connections: usize) -> impl Iterator<Item = u64> + use<> {
        (connection..self.devices).step_by(connections.max(1)).filter_map(|number| u64::try_from(number).ok())
    }

    /// Returns the name of a device.
    pub fn name(&self, number: u64) -> String {
        format!("{}{number:05}", self.device_prefix)
    }
}

fn two_days_ago_millis() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.saturating_sub(Duration::from_secs(2 * 86_400)).as_millis()).unwrap_or_default()
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is between 0 and 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn connections_share_the_devices_without_overlap() {
        let Mode::Rows(rows) =
            Cli::parse_from(["loadgen", "rows", "--batches", "1", "--out", "x", "--devices", "10"]).mode
        else {
            panic!("rows expected");
        };
        let mut all: Vec<u64> = (0..3).flat_map(|connection| rows.trace.numbers(connection, 3)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<u64>>());
        assert_eq!(rows.trace.name(7), "bench-00007");
    }
}
