//! The command line of `fleet`.

use clap::Args;

/// `fleet`
#[derive(Debug, Args)]
pub struct Fleet {
    /// Host and port of the server that drivers send to, as numbers.
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub address: String,
    /// Host and port of the server that is watched (default: the same).
    #[arg(long)]
    pub watch_address: Option<String>,
    /// An ingest key. From the environment, because a command line can be read by every user.
    #[arg(long, env = "FLEETWIRE_TOKEN", hide_env_values = true, default_value = "")]
    pub token: String,
    /// A user's token, for those who watch.
    #[arg(long, env = "FLEETWIRE_WATCH_TOKEN", hide_env_values = true, default_value = "")]
    pub watch_token: String,
    /// Drivers who post over HTTP, each over a connection of its own.
    #[arg(long, default_value_t = 0)]
    pub drivers: usize,
    /// Drivers who send over a WebSocket.
    #[arg(long, default_value_t = 0)]
    pub sockets: usize,
    /// Watchers of the whole tenant.
    #[arg(long, default_value_t = 0)]
    pub watchers: usize,
    /// Watchers who never read.
    #[arg(long, default_value_t = 0)]
    pub deaf: usize,
    /// After so long a deaf one hangs up and comes back, as the server has closed it meanwhile.
    #[arg(long, default_value_t = 15.0)]
    pub deaf_again_secs: f64,
    /// From one batch of a driver to the next, whatever the answers do (open model).
    #[arg(long, default_value_t = 1.0)]
    pub every_secs: f64,
    /// Fixes of a batch; they lie evenly between two batches.
    #[arg(long, default_value_t = 10)]
    pub batch_size: usize,
    /// Names of the devices go on with their number.
    #[arg(long, default_value = "fleet-")]
    pub device_prefix: String,
    /// Number of the first device.
    #[arg(long, default_value_t = 0)]
    pub first_device: usize,
    /// The same seed makes the same ways.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Subprotocol that watchers ask for. Frames of columns have no names: their delay can be taken with --stamped only.
    #[arg(long)]
    pub protocol: Option<String>,
    /// The movement watched is not made here: its delay counts from the fix's own time, which is this machine's clock.
    #[arg(long)]
    pub stamped: bool,
    /// Connections opened per second.
    #[arg(long, default_value_t = 2_000.0)]
    pub open_per_sec: f64,
    /// How long the load runs before anything is measured.
    #[arg(long, default_value_t = 0.0)]
    pub warm_secs: f64,
    /// How long it runs and is measured after that.
    #[arg(long, default_value_t = 10.0)]
    pub duration_secs: f64,
    /// Cut every connection so long after the start of the measurement; the run ends when all are back.
    #[arg(long)]
    pub cut_at_secs: Option<f64>,
    /// Those who lost their connection come back spread over so long.
    #[arg(long, default_value_t = 5.0)]
    pub jitter_secs: f64,
}

impl Fleet {
    /// Connections that are open at once.
    pub fn connections(&self) -> usize {
        self.drivers + self.sockets + self.watchers + self.deaf
    }
}
