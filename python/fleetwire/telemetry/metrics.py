"""Counters of the whole way, in one place: `fleetwire_<stage>_<noun>_<unit>`, labels with few values only."""

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetwire._core import Buckets
from fleetwire.runtime import supervisor
from fleetwire.runtime.retry import failures_by_task
from fleetwire.telemetry.fast_metrics import Durations, FastCounter, FastCounters, LabelledDurations

__all__ = ["CONTENT_TYPE"]

REGISTRY = CollectorRegistry()
_RECEIPT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_BATCHES = FastCounters(
    "fleetwire_ingest_batches", "Batches by door and outcome.", ["door", "outcome"], registry=REGISTRY
)
_FIXES = FastCounters("fleetwire_ingest_fixes", "Fixes by what became of them.", ["outcome"], registry=REGISTRY)
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
DEVICE_LOOKUPS_REFUSED = Counter(
    "fleetwire_store_device_lookups_refused",
    "Batches refused: too many unknown devices were being asked for.",
    registry=REGISTRY,
)
SPOOL_BYTES = Gauge("fleetwire_store_spool_bytes", "Bytes that wait in the spool.", registry=REGISTRY)
SPOOL_ASIDE_BYTES = Gauge(
    "fleetwire_store_spool_aside_bytes", "Bytes of spool files that wait for a person.", registry=REGISTRY
)
SPOOL_QUEUED = Counter("fleetwire_store_spool_queued_fixes", "Fixes put into the spool.", registry=REGISTRY)
SPOOL_REFUSED = Counter("fleetwire_store_spool_refused", "Batches refused: the spool was full.", registry=REGISTRY)
SPOOL_SKIPPED_BYTES = Counter(
    "fleetwire_store_spool_skipped_bytes", "Bytes behind a damaged record, kept aside.", registry=REGISTRY
)
SPOOL_UNSTORABLE = Counter(
    "fleetwire_store_spool_unstorable", "Spooled batches that were put aside.", registry=REGISTRY
)
COMMIT_SECONDS = Histogram("fleetwire_store_commit_seconds", "Length of a group's commit.", registry=REGISTRY)
COMMITS_IN_STEPS = Counter(
    "fleetwire_store_commits_in_steps", "Groups of which something was, or might be, late.", registry=REGISTRY
)
DATABASE_REPLACED = Counter(
    "fleetwire_store_database_replaced", "Times that everything known of the database was dropped.", registry=REGISTRY
)
COMMIT_RETRIES = Counter("fleetwire_store_commit_retries", "Groups tried again.", registry=REGISTRY)
COMMIT_TIMEOUTS = Counter(
    "fleetwire_store_commit_timeouts", "Groups that the server stopped for the time they took.", registry=REGISTRY
)
BACKFILL_BATCHES = Gauge(
    "fleetwire_store_backfill_batches",
    "Batches that are stored apart, for what they need of history.",
    registry=REGISTRY,
)
BACKFILLED = Counter("fleetwire_store_backfilled_batches", "Batches that were stored apart.", registry=REGISTRY)
BACKFILL_REFUSED = Counter(
    "fleetwire_store_backfill_refused", "Batches refused: too many were to be stored apart.", registry=REGISTRY
)
SPREAD_BATCHES = Counter(
    "fleetwire_store_spread_batches", "Batches refused until more partitions are made for them.", registry=REGISTRY
)
AFTER_COMMIT_FAILURES = Counter(
    "fleetwire_store_after_commit_failures", "Stored groups that watchers were not told of.", registry=REGISTRY
)
DETACHED_PARTITIONS = Gauge(
    "fleetwire_store_detached_partitions", "Partitions half detached, whose days nobody sees.", registry=REGISTRY
)
MERGED_SEGMENTS = Counter("fleetwire_store_merged_segments", "Segments merged into larger ones.", registry=REGISTRY)
MERGED_FIXES = Counter("fleetwire_store_merged_fixes", "Fixes in merged segments, again each time.", registry=REGISTRY)
MERGE_FAILURES = Counter(
    "fleetwire_store_merge_failures", "Devices whose stored segments cannot be read or overlap.", registry=REGISTRY
)
EXPIRED_FIXES = Counter("fleetwire_store_expired_fixes", "Fixes deleted by retention.", registry=REGISTRY)
ENDED_SESSIONS = Counter("fleetwire_store_ended_sessions", "Rows of ended logins deleted.", registry=REGISTRY)
UPKEEP_SECONDS = Histogram(
    "fleetwire_store_upkeep_seconds",
    "Length of a round of upkeep that this worker did.",
    buckets=(0.01, 0.1, 1.0, 10.0, 60.0, 600.0),
    registry=REGISTRY,
)
ENDED_CREDENTIALS = Counter("fleetwire_store_ended_credentials", "Rows of ended tokens deleted.", registry=REGISTRY)
IDLE_ORDER_DEVICES = Counter(
    "fleetwire_store_idle_order_devices", "Devices taken from orders that nobody ended.", registry=REGISTRY
)
UPKEEP_LAG = Gauge(
    "fleetwire_store_upkeep_lag_seconds",
    "How long a job's pass over everything has been due or under way, whichever worker does it.",
    ["job"],
    registry=REGISTRY,
)
OLDEST_SNAPSHOT = Gauge(
    "fleetwire_store_oldest_snapshot_seconds",
    "Age of the oldest snapshot in the database, which keeps versions of rows from being removed.",
    registry=REGISTRY,
)
UPKEEP_FAILURES = Counter("fleetwire_store_upkeep_failures", "Rounds of upkeep that failed.", registry=REGISTRY)
UPKEEP_LAST = Gauge(
    "fleetwire_store_upkeep_last_seconds", "When this worker's last round ended, Unix time.", registry=REGISTRY
)
ACCESS_LOOKUPS = Counter("fleetwire_access_lookups", "Credentials asked for in the database.", registry=REGISTRY)
ACCESS_LOOKUPS_REFUSED = Counter(
    "fleetwire_access_lookups_refused", "Requests refused: too many unknown credentials at once.", registry=REGISTRY
)
PASSWORDS_REFUSED = Counter(
    "fleetwire_access_passwords_refused", "Logins refused: too many passwords were being checked.", registry=REGISTRY
)
USES_DROPPED = Counter(
    "fleetwire_access_uses_dropped", "Last uses of credentials that were not noted.", registry=REGISTRY
)
POSITIONS_MOVED = Counter("fleetwire_live_positions_moved", "Live positions that moved forward.", registry=REGISTRY)
SOCKETS = Gauge("fleetwire_fanout_sockets", "Open WebSockets by kind.", ["kind"], registry=REGISTRY)
FRAMES = FastCounters("fleetwire_fanout_frames", "Frames sent to watchers by type.", ["type"], registry=REGISTRY)
FRAMES_SNAPSHOT, FRAMES_MOVED, FRAMES_RESYNC, FRAMES_HEARTBEAT = (
    FRAMES.labels(kind) for kind in ("snapshot", "moved", "resync", "heartbeat")
)
_FRAMES_MADE = FastCounters(
    "fleetwire_fanout_frames_made",
    "Frames of positions: rendered anew, or shared, since another watcher of the same got it before.",
    ["how"],
    registry=REGISTRY,
)
FRAMES_RENDERED, FRAMES_SHARED = (_FRAMES_MADE.labels(how) for how in ("rendered", "shared"))
FRAME_BYTES = FastCounters(
    "fleetwire_fanout_frame_bytes", "Bytes of frames sent to watchers by type.", ["type"], registry=REGISTRY
)
FRAME_BYTES_SNAPSHOT, FRAME_BYTES_MOVED = (FRAME_BYTES.labels(kind) for kind in ("snapshot", "moved"))
CONFLATED = Counter(
    "fleetwire_fanout_conflated_ticks", "Ticks a busy watcher got as one frame of newest positions.", registry=REGISTRY
)
TURNS_OVERSTAYED = Counter(
    "fleetwire_fanout_turns_overstayed",
    "Frames that a watcher did not take at once, so that others went before it was done.",
    registry=REGISTRY,
)
_CACHE_REQUESTS = FastCounters(
    "fleetwire_cache_requests", "Reads of cached routes by where the answer is from.", ["result"], registry=REGISTRY
)
_CACHE_EVENTS = FastCounters("fleetwire_cache_events", "What else happened in the cache.", ["event"], registry=REGISTRY)
CACHE_FILLS = _CACHE_EVENTS.labels("handler_call")
CACHE_NOT_MODIFIED = _CACHE_EVENTS.labels("not_modified")
CACHE_INVALIDATIONS = _CACHE_EVENTS.labels("invalidation")
CACHE_SHARED_FAILURES = _CACHE_EVENTS.labels("second_level_failure")
CACHE_SHARED_REFUSED = _CACHE_EVENTS.labels("second_level_refused")
CACHE_ENTRIES = Gauge("fleetwire_cache_entries", "Answers kept.", registry=REGISTRY)
CACHE_BYTES = Gauge("fleetwire_cache_bytes", "Bytes of the answers kept, at most.", registry=REGISTRY)
CACHE_REFUSED = Gauge("fleetwire_cache_refused", "Reads refused: too many first ones at once.", registry=REGISTRY)
CLOSES = Counter("fleetwire_fanout_closes", "WebSockets closed by us, by code.", ["code"], registry=REGISTRY)
HTTP_SECONDS = LabelledDurations(
    "http_request_duration_seconds",
    "From a request's head to its answer's, by method, route and status.",
    ["method", "route", "status"],
    buckets=_RECEIPT_BUCKETS,
    registry=REGISTRY,
)
SLOW_REQUESTS = Counter("fleetwire_http_slow_requests", "Requests over the limit of slow ones.", registry=REGISTRY)
SLOW_READERS = Counter(
    "fleetwire_http_slow_readers", "Answers given up: the client did not take a piece in time.", registry=REGISTRY
)
STREAMS_REFUSED = Counter(
    "fleetwire_http_streams_refused", "Downloads refused: too many under way.", ["bound"], registry=REGISTRY
)
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
SOCKET_RATE_REFUSED = Counter(
    "fleetwire_fanout_rate_refused", "Messages of sockets refused: over the rate.", registry=REGISTRY
)
SOCKETS_REFUSED = Counter(
    "fleetwire_fanout_sockets_refused", "Handshakes refused: too many sockets.", ["bound"], registry=REGISTRY
)
FIX_TO_WATCHER_SECONDS = Durations(
    "fleetwire_fanout_fix_to_watcher_seconds",
    "From a commit to the frame with its positions in the hands of a watcher's socket.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0),
    registry=REGISTRY,
)
EVENTS_PUBLISHED = Counter(
    "fleetwire_fanout_events_published",
    "Events of clients by kind and outcome.",
    ["kind", "outcome"],
    registry=REGISTRY,
)
EVENTS_DELIVERED = Counter("fleetwire_fanout_events_delivered", "Events handed to sockets.", registry=REGISTRY)
EVENTS_REDELIVERED = Counter(
    "fleetwire_fanout_events_redelivered", "Of them, older than the moment their watcher came back.", registry=REGISTRY
)
EVENTS_UNACKNOWLEDGED = Gauge(
    "fleetwire_fanout_events_unacknowledged",
    "Events that acknowledging watchers have not acknowledged.",
    registry=REGISTRY,
)
EVENT_WINDOWS_FULL = Counter(
    "fleetwire_fanout_event_windows_full",
    "Times a watcher got no more events until it acknowledged.",
    registry=REGISTRY,
)
EVENT_PAGES = Counter("fleetwire_fanout_event_pages", "Pages of events read from the database.", registry=REGISTRY)
EXPIRED_EVENTS = Counter("fleetwire_store_expired_events", "Events deleted by retention.", registry=REGISTRY)
EXPIRED_AUDIT_ENTRIES = Counter(
    "fleetwire_store_expired_audit_entries", "Entries of the audit log deleted by retention.", registry=REGISTRY
)

RELAY_CONNECTED = Gauge(
    "fleetwire_relay_connected_workers", "Workers connected to the relay, of those that need it.", registry=REGISTRY
)
RELAY_CONNECTIONS = Counter("fleetwire_relay_connections", "Times the relay was connected.", registry=REGISTRY)
RELAY_WORKERS = Gauge("fleetwire_relay_heard_workers", "Workers heard, this one included.", registry=REGISTRY)
RELAY_MESSAGES = Counter("fleetwire_relay_messages", "Messages by direction.", ["direction"], registry=REGISTRY)
RELAY_BYTES = Counter(
    "fleetwire_relay_message_bytes", "Bytes of messages by direction.", ["direction"], registry=REGISTRY
)
RELAY_DROPPED = Counter(
    "fleetwire_relay_dropped_messages", "Messages not sent; the other workers notice.", ["policy"], registry=REGISTRY
)
RELAY_REFUSED = Counter(
    "fleetwire_relay_refused_messages", "Messages of others that could not be used.", registry=REGISTRY
)
RELAY_MISSED = Counter(
    "fleetwire_relay_missed", "Times messages may not have been heard, by why.", ["why"], registry=REGISTRY
)
RELAY_CAUGHT_UP = Counter(
    "fleetwire_relay_caught_up_positions", "Positions read from the database for what was missed.", registry=REGISTRY
)

_SPANS = Counter("fleetwire_tracing_spans", "Ended spans by what became of them.", ["outcome"], registry=REGISTRY)
SPANS_SENT, SPANS_FAILED, SPANS_DROPPED = (_SPANS.labels(outcome) for outcome in ("sent", "failed", "dropped"))

LIMITS_SHARED_UP = Gauge("fleetwire_limits_shared_up", "1 while limits are shared through Redis.", registry=REGISTRY)
LIMITS_SHARED_FAILURES = Counter(
    "fleetwire_limits_shared_failures", "Calls about limits that Redis did not answer.", registry=REGISTRY
)
LIMITS_UNSHARED = Counter(
    "fleetwire_limits_unshared", "Units let through that other workers were not told of.", registry=REGISTRY
)


class Counted(Protocol):
    """What the core counts of limits."""

    def decisions(self) -> Iterable[tuple[str, int, int]]:
        """Limit, allowed, refused."""

    def keys(self) -> int:
        """Clients whose buckets are not full."""

    @property
    def buckets(self) -> Buckets:
        """For what it had to forget."""


class _Limits(Collector):
    """Asks when it is scraped: counting each decision here would cost more than the decision."""

    source: Counted | None = None

    def collect(self) -> Iterable[Metric]:
        if self.source is None:
            return
        decisions = CounterMetricFamily(
            "fleetwire_limits_decisions", "Decisions by limit.", labels=["limit", "outcome"]
        )
        for name, allowed, refused in self.source.decisions():
            decisions.add_metric([name, "allowed"], allowed)
            decisions.add_metric([name, "limited"], refused)
        yield decisions
        yield GaugeMetricFamily("fleetwire_limits_keys", "Clients whose buckets are not full.", self.source.keys())
        evicted = self.source.buckets.evicted
        yield CounterMetricFamily("fleetwire_limits_evictions", "Buckets forgotten before they were full.", evicted)


LIMITS = _Limits()
REGISTRY.register(LIMITS)


class _BackgroundTasks(Collector):
    """Reads when it is scraped: the supervisor knows nothing of metrics."""

    def collect(self) -> Iterable[Metric]:
        failures = CounterMetricFamily(
            "fleetwire_background_failures", "Failed rounds of background tasks.", labels=["task"]
        )
        for name, count in failures_by_task.items():
            failures.add_metric([name], count)
        yield failures
        stuck = len(supervisor.stuck_names())
        yield GaugeMetricFamily("fleetwire_background_stuck_tasks", "Background tasks that cannot go on.", stuck)


REGISTRY.register(_BackgroundTasks())


def cache_requests(result: str) -> FastCounter:
    """The tally of one result of a cached read: `hit`, `miss` or `stale`."""
    return _CACHE_REQUESTS.labels(result)


class TransportCounters:
    """The batch counters of one way in."""

    def __init__(self, name: str) -> None:
        self.received, self.queued, self.refused, self.unavailable = (
            _BATCHES.labels(name, outcome) for outcome in ("received", "queued", "refused", "unavailable")
        )


HTTP = TransportCounters("http")
SOCKET = TransportCounters("ws")
