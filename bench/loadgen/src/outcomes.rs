//! Counts outcomes and latencies, and reports them.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer latencies are recorded as this.
const MAX_LATENCY_MICROS: u64 = 120_000_000;

/// Counted members of a receipt; a socket's receipt also has a type and an id.
#[derive(Debug, Default, Deserialize)]
pub struct Receipt {
    /// `receipt` or `error`, on sockets.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The batch's id, on sockets.
    #[serde(default)]
    pub id: String,
    /// Error code.
    #[serde(default)]
    pub code: String,
    /// New fixes.
    #[serde(default)]
    pub stored: u64,
    /// Fixes that were stored before.
    #[serde(default)]
    pub duplicate: u64,
    #[serde(default)]
    rejected: Vec<serde::de::IgnoredAny>,
}

/// Counts of a run in progress.
#[derive(Debug)]
pub struct OutcomeCounts {
    latency: LatencyHistogram,
    answers: BTreeMap<String, u64>,
    errors: BTreeMap<&'static str, u64>,
    fixes: Fixes,
    sent_bytes: u64,
    received_bytes: u64,
}

/// Fixes by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fixes {
    /// Fixes in answered requests, whatever the answer.
    pub sent: u64,
    /// Fixes acknowledged as new.
    pub stored: u64,
    /// Fixes acknowledged as duplicates.
    pub duplicate: u64,
    /// Fixes rejected individually.
    pub rejected: u64,
}

/// Report of a run, as `--json` writes it.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    /// Time from the start to the last answer.
    pub secs: f64,
    /// Number of answers of any kind.
    pub requests: u64,
    /// Answers per second.
    pub requests_per_sec: f64,
    /// Answers by HTTP status, or on sockets by `receipt` and error code.
    pub answers: BTreeMap<String, u64>,
    /// Requests without an answer, by reason.
    pub errors: BTreeMap<&'static str, u64>,
    /// Fixes by outcome.
    pub fixes: Fixes,
    /// Time from due time to answer, of successful requests.
    pub latency: LatencyQuantiles,
    /// Bytes written to the connections, without TCP/IP headers.
    pub sent_bytes: u64,
    /// Bytes read from the connections.
    pub received_bytes: u64,
    /// Time after every fix of the run, from which a later run can continue.
    pub last_fix_millis: i64,
}

/// Quantiles in milliseconds.
#[derive(Debug, Serialize)]
pub struct LatencyQuantiles {
    /// Number of measurements.
    pub count: u64,
    /// Median.
    pub p50_millis: f64,
    /// 95th percentile.
    pub p95_millis: f64,
    /// 99th percentile.
    pub p99_millis: f64,
    /// 99.9th percentile.
    pub p999_millis: f64,
    /// Maximum.
    pub max_millis: f64,
}

/// Histogram of latencies.
#[derive(Debug)]
pub struct LatencyHistogram {
    micros: Histogram<u64>,
}

impl LatencyHistogram {
    /// Creates empty counts. Never `None`: the bounds of the histogram are valid constants.
    pub fn new() -> Option<Self> {
        Some(Self { micros: Histogram::new_with_bounds(1, MAX_LATENCY_MICROS, 3).ok()? })
    }

    /// Records one latency.
    pub fn record(&mut self, latency: Duration) {
        self.micros.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY_MICROS).max(1));
    }

    /// Returns the quantiles.
    pub fn quantiles(&self) -> LatencyQuantiles {
        let millis = |quantile| as_millis(self.micros.value_at_quantile(quantile));
        LatencyQuantiles {
            count: self.micros.len(),
            p50_millis: millis(0.5),
            p95_millis: millis(0.95),
            p99_millis: millis(0.99),
            p999_millis: millis(0.999),
            max_millis: as_millis(self.micros.max()),
        }
    }
}

impl OutcomeCounts {
    /// Creates empty counts. Never `None`: the bounds of the histogram are valid constants.
    pub fn new() -> Option<Self> {
        Some(Self {
            latency: LatencyHistogram::new()?,
            answers: BTreeMap::new(),
            errors: BTreeMap::new(),
            fixes: Fixes::default(),
            sent_bytes: 0,
            received_bytes: 0,
        })
    }

    /// Counts the bytes of a request and of its answer.
    pub fn bytes(&mut self, sent: usize, received: usize) {
        self.sent_bytes += u64::try_from(sent).unwrap_or_default();
        self.received_bytes += u64::try_from(received).unwrap_or_default();
    }

    /// Counts a successful request; without a latency outside the measurement.
    pub fn success(
        &mut self,
        answer: &str,
        latency: impl Into<Option<Duration>>,
        fixes: usize,
        receipt: Option<&Receipt>,
    ) {
        self.answer(answer, fixes);
        if let Some(latency) = latency.into() {
            self.latency.record(latency);
        }
        if let Some(receipt) = receipt {
            self.fixes.stored += receipt.stored;
            self.fixes.duplicate += receipt.duplicate;
            self.fixes.rejected += u64::try_from(receipt.rejected.len()).unwrap_or_default();
        }
    }

    /// Counts a request that was refused.
    pub fn answer(&mut self, answer: &str, fixes: usize) {
        self.fixes.sent += u64::try_from(fixes).unwrap_or_default();
        match self.answers.get_mut(answer) {
            Some(count) => *count += 1,
            None => drop(self.answers.insert(answer.to_owned(), 1)),
        }
    }

    /// Counts a request that was not answered.
    pub fn error(&mut self, reason: &'static str) {
        *self.errors.entry(reason).or_default() += 1;
    }

    /// The report of a run of this length.
    pub fn report(&self, elapsed: Duration, last_fix_millis: i64) -> LoadReport {
        let requests: u64 = self.answers.values().sum();
        let secs = elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "below 2^52 requests")]
        let requests_per_sec = if secs > 0.0 { requests as f64 / secs } else { 0.0 };
        LoadReport {
            secs,
            requests,
            requests_per_sec,
            answers: self.answers.clone(),
            errors: self.errors.clone(),
            fixes: self.fixes,
            latency: self.latency.quantiles(),
            sent_bytes: self.sent_bytes,
            received_bytes: self.received_bytes,
            last_fix_millis,
        }
    }
}

fn as_millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut outcomes = OutcomeCounts::new().unwrap();
        for millis in 1..=1_000 {
            outcomes.success("200", Duration::from_millis(millis), 50, None);
        }
        let latency = outcomes.report(Duration::from_secs(10), 0).latency;
        assert_eq!(latency.count, 1_000);
        for (found, expected) in [
            (latency.p50_millis, 500.0),
            (latency.p95_millis, 950.0),
            (latency.p99_millis, 990.0),
            (latency.p999_millis, 999.0),
            (latency.max_millis, 1_000.0),
        ] {
            assert!((found - expected).abs() <= expected / 1_000.0, "{found} is not {expected}");
        }
    }

    #[test]
    fn refusals_are_counted_apart_and_have_no_latency() {
        let mut outcomes = OutcomeCounts::new().unwrap();
        let receipt: Receipt =
            serde_json::from_str(r#"{"stored": 48, "duplicate": 1, "rejected": [{"index": 3, "code": "x"}]}"#).unwrap();
        outcomes.success("200", Duration::from_millis(3), 50, Some(&receipt));
        outcomes.answer("503", 50);
        outcomes.error("closed");
        let report = outcomes.report(Duration::from_secs(2), 9);
        assert_eq!(report.fixes, Fixes { sent: 100, stored: 48, duplicate: 1, rejected: 1 });
        assert_eq!(report.requests, 2);
        assert!((report.requests_per_sec - 1.0).abs() < 1e-9);
        assert_eq!(report.answers.get("503"), Some(&1));
        assert_eq!(report.errors.get("closed"), Some(&1));
        assert_eq!((report.latency.count, report.last_fix_millis), (1, 9));
    }

    #[test]
    fn an_endless_latency_counts_as_the_longest() {
        let mut outcomes = OutcomeCounts::new().unwrap();
        outcomes.success("200", Duration::from_secs(3_600), 1, None);
        assert!(outcomes.report(Duration::from_secs(1), 0).latency.max_millis >= 119_000.0);
    }

    #[test]
    fn a_run_without_answers_can_be_reported() {
        let report = OutcomeCounts::new().unwrap().report(Duration::ZERO, 0);
        assert_eq!((report.requests, report.latency.count), (0, 0));
        assert!(report.requests_per_sec.abs() < 1e-9);
    }
}
