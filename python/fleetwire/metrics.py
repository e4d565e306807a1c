"""Counters of the whole way, in one place: `fleetwire_<stage>_<noun>_<unit>`, labels with few values only."""

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fleetwire.tally import Durations, LabelledDurations, Tallies

__all__ = ["CONTENT_TYPE", "render"]

REGISTRY = CollectorRegistry()
_RECEIPT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_BATCHES = Tallies("fleetwire_ingest_batches", "Batches by door and outcome.", ["door", "outcome"], registry=REGISTRY)
_FIXES = Tallies("fleetwire_ingest_fixes", "Fixes by what became of them.", ["outcome"], registry=REGISTRY)
FIXES_STORED = _FIXES.labels("stored")
FIXES_DUPLICATE = _FIXES.labels("duplicate")
REJECTS = Counter("fleetwire_ingest_rejects", "Refused fixes by code.", ["code"], registry=REGISTRY)
RECEIPT_SECONDS = Durations(
    "fleetwire_ingest_receipt_seconds",
    "From the end of the request's body to its receipt.",
    buckets=_RECEIPT_BUCKETS,
    registry=REGISTRY,
)
INTAKE_BATCHES = Gauge("fleetwire_store_intake_batches", "Batches that wait for a commit.", registry=REGISTRY)
INTAKE_REFUSED = Counter("fleetwire_store_intake_refused", "Batches refused: the intake was full.", registry=REGISTRY)
SPOOL_BYTES = Gauge("fleetwire_store_spool_bytes", "Bytes in the spool.", registry=REGISTRY)
SPOOL_QUEUED = Counter("fleetwire_store_spool_queued_fixes", "Fixes put into the spool.", registry=REGISTRY)
SPOOL_REFUSED = Counter("fleetwire_store_spool_refused", "Batches refused: the spool was full.", registry=REGISTRY)
SPOOL_SKIPPED_BYTES = Counter(
    "fleetwire_store_spool_skipped_bytes", "Bytes behind a damaged record, kept aside.", registry=REGISTRY
)
SPOOL_UNSTORABLE = Counter(
    "fleetwire_store_spool_unstorable", "Spooled batches that were refused for good, kept aside.", registry=REGISTRY
)
COMMIT_SECONDS = Histogram("fleetwire_store_commit_seconds", "Length of a group's commit.", registry=REGISTRY)
COMMIT_RETRIES = Counter("fleetwire_store_commit_retries", "Groups tried again.", registry=REGISTRY)
AFTER_COMMIT_FAILURES = Counter(
    "fleetwire_store_after_commit_failures", "Stored groups that watchers were not told of.", registry=REGISTRY
)
MERGED_SEGMENTS = Counter("fleetwire_store_merged_segments", "Segments merged into larger ones.", registry=REGISTRY)
MERGED_FIXES = Counter("fleetwire_store_merged_fixes", "Fixes in merged segments, again each time.", registry=REGISTRY)
MERGE_FAILURES = Counter(
    "fleetwire_store_merge_failures", "Devices whose stored segments cannot be read or overlap.", registry=REGISTRY
)
EXPIRED_FIXES = Counter("fleetwire_store_expired_fixes", "Fixes deleted by retention.", registry=REGISTRY)
UPKEEP_SECONDS = Histogram(
    "fleetwire_store_upkeep_seconds",
    "Length of a round of upkeep that this worker did.",
    buckets=(0.01, 0.1, 1.0, 10.0, 60.0, 600.0),
    registry=REGISTRY,
)
UPKEEP_FAILURES = Counter("fleetwire_store_upkeep_failures", "Rounds of upkeep that failed.", registry=REGISTRY)
UPKEEP_LAST = Gauge(
    "fleetwire_store_upkeep_last_seconds", "When this worker's last round ended, Unix time.", registry=REGISTRY
)
POSITIONS_MOVED = Counter("fleetwire_live_positions_moved", "Live positions that moved forward.", registry=REGISTRY)
SOCKETS = Gauge("fleetwire_fanout_sockets", "Open WebSockets by kind.", ["kind"], registry=REGISTRY)
FRAMES = Counter("fleetwire_fanout_frames", "Frames sent to watchers by type.", ["type"], registry=REGISTRY)
FRAME_BYTES = Counter("fleetwire_fanout_frame_bytes", "Bytes of frames sent to watchers.", registry=REGISTRY)
CONFLATED = Counter(
    "fleetwire_fanout_conflated_ticks", "Ticks a busy watcher got as one frame of newest positions.", registry=REGISTRY
)
CLOSES = Counter("fleetwire_fanout_closes", "WebSockets closed by us, by code.", ["code"], registry=REGISTRY)
HTTP_SECONDS = LabelledDurations(
    "http_request_duration_seconds",
    "From a request's head to its answer's, by method, route and status.",
    ["method", "route", "status"],
    buckets=_RECEIPT_BUCKETS,
    registry=REGISTRY,
)
SLOW_REQUESTS = Counter("fleetwire_http_slow_requests", "Requests over the limit of slow ones.", registry=REGISTRY)
SLOW_QUERIES = Counter("fleetwire_store_slow_queries", "Statements over the limit of slow ones.", registry=REGISTRY)
CONNECTIONS_ACTIVE = Gauge(
    "database_connections_active", "Database connections that are being used, by pool.", ["pool"], registry=REGISTRY
)
CONNECTIONS_OPEN = Gauge(
    "database_connections_open", "Database connections that are open, by pool.", ["pool"], registry=REGISTRY
)
CONNECTIONS_MAX = Gauge(
    "database_connections_max", "Database connections there may be, by pool.", ["pool"], registry=REGISTRY
)


class Door:
    """The batch counters of one way in."""

    def __init__(self, name: str) -> None:
        self.received, self.queued, self.refused, self.unavailable = (
            _BATCHES.labels(name, outcome) for outcome in ("received", "queued", "refused", "unavailable")
        )


HTTP = Door("http")
SOCKET = Door("ws")


def render() -> bytes:
    """The text Prometheus scrapes."""
    return generate_latest(REGISTRY)
