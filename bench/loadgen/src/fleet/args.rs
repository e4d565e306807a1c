//! Command line of the mode `fleet`.

use clap::Args;

/// Options of `fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// IP address and port of the server that drivers send to.
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub address: String,
    /// IP address and port of the server that watchers connect to (default: the same).
    #[arg(long)]
    pub watch_address: Option<String>,
    /// An ingest key. From the environment, because a command line can be read by every user.
    #[arg(long, env = "FLEETWIRE_TOKEN", hide_env_values = true, default_value = "")]
    pub token: String,
    /// A user's token, for the watchers.
    #[arg(long, env = "FLEETWIRE_WATCH_TOKEN", hide_env_values = true, default_value = "")]
    pub watch_token: String,
    /// Number of drivers that post over HTTP, each over its own connection.
    #[arg(long, default_value_t = 0)]
    pub drivers: usize,
    /// Number of drivers that send over a WebSocket.
    #[arg(long, default_value_t = 0)]
    pub sockets: usize,
    /// Number of watchers of the whole tenant.
    #[arg(long, default_value_t = 0)]
    pub watchers: usize,
    /// Number of watchers that never read.
    #[arg(long, default_value_t = 0)]
    pub stalled: usize,
    /// Interval after which a stalled watcher reconnects, as the server closes it for being slow.
    #[arg(long, default_value_t = 15.0)]
    pub stalled_reconnect_secs: f64,
    /// Interval between the batches of a driver, independent of the answers (open model).
    #[arg(long, default_value_t = 1.0)]
    pub every_secs: f64,
    /// Fixes per batch, spread evenly over the interval.
    #[arg(long, default_value_t = 10)]
    pub batch_size: usize,
    /// Prefix of device names, which end with the device's number.
    #[arg(long, default_value = "fleet-")]
    pub device_prefix: String,
    /// Number of the first device.
    #[arg(long, default_value_t = 0)]
    pub first_device: usize,
    /// Seed of the routes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Subprotocol that watchers request. Protobuf frames have no device names: their delay needs --stamped.
    #[arg(long)]
    pub protocol: Option<String>,
    /// Measure delays from the time of the fix, for movements that another process of this machine makes.
    #[arg(long)]
    pub stamped: bool,
    /// Connections opened per second.
    #[arg(long, default_value_t = 2_000.0)]
    pub open_per_sec: f64,
    /// Duration of the warm-up before the measurement.
    #[arg(long, default_value_t = 0.0)]
    pub warm_secs: f64,
    /// Duration of the measurement.
    #[arg(long, default_value_t = 10.0)]
    pub duration_secs: f64,
    /// Cut every connection this long after the start of the measurement; the run ends when all have reconnected.
    #[arg(long)]
    pub cut_at_secs: Option<f64>,
    /// Period over which lost connections reconnect, at random.
    #[arg(long, default_value_t = 5.0)]
    pub jitter_secs: f64,
}

impl FleetArgs {
    /// Number of connections that are open at once.
    pub fn connections(&self) -> usize {
        self.drivers + self.sockets + self.watchers + self.stalled
    }
}
