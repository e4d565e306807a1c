"""`GET /api/websocket/stats`: the figures of this worker's sockets, read from the same counters as `/metrics`."""

from collections import Counter as Tally
from typing import Final

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from prometheus_client.registry import Collector

from fleetwire.access.identity.guards import requires
from fleetwire.fanout.sockets.close_codes import Close
from fleetwire.fanout.sockets.sockets import Sockets
from fleetwire.telemetry import metrics

QUANTILES: Final = (0.5, 0.9, 0.99)


class EventStats(msgspec.Struct, frozen=True):
    """Counted since the worker's start, but for `unacknowledged`, which is of now."""

    published: int
    delivered: int
    redelivered: int
    unacknowledged: int
    windows_full: int
    pages: int


class SocketStats(msgspec.Struct, frozen=True):
    """Of the worker that answers. Counters run since its start; delays are seconds, null before the first frame."""

    sockets: dict[str, int]
    protocols: dict[str, int]
    frames: dict[str, int]
    bytes: dict[str, int]
    conflated: int
    dropped: int
    rate_refused: int
    closes: dict[str, int]
    slow_closes: int
    fix_to_watcher_secs: dict[str, float | None]
    events: EventStats


@get(
    "/api/websocket/stats",
    guards=[requires("operate")],
    operation_id="socketStats",
    summary="Figures of the sockets",
    description="Sockets by kind and by protocol, frames and bytes out by type, closes by code, the delay from a "
    "commit to a watcher's socket, and events. Of the worker that answers, since its start.",
)
async def socket_stats(sockets: NamedDependency[Sockets]) -> Response[SocketStats]:
    """Reads the counters."""
    closes = _by_label(metrics.CLOSES, "code")
    stats = SocketStats(
        sockets=sockets.counts(),
        protocols=dict(Tally(socket.protocol for socket in sockets.all())),
        frames=_by_label(metrics.FRAMES, "type"),
        bytes=_by_label(metrics.FRAME_BYTES, "type"),
        conflated=_sum(metrics.CONFLATED),
        # Nothing is: positions are conflated, events wait in the store, a watcher that takes neither is closed.
        dropped=0,
        rate_refused=_sum(metrics.SOCKET_RATE_REFUSED),
        closes=closes,
        slow_closes=closes.get(str(Close.SLOW.value), 0),
        fix_to_watcher_secs={f"p{q * 100:g}": quantile(metrics.FIX_TO_WATCHER_SECONDS, q) for q in QUANTILES},
        events=EventStats(
            published=_sum(metrics.EVENTS_PUBLISHED),
            delivered=_sum(metrics.EVENTS_DELIVERED),
            redelivered=_sum(metrics.EVENTS_REDELIVERED),
            unacknowledged=_sum(metrics.EVENTS_UNACKNOWLEDGED),
            windows_full=_sum(metrics.EVENT_WINDOWS_FULL),
            pages=_sum(metrics.EVENT_PAGES),
        ),
    )
    return Response(stats, headers={"cache-control": "no-store"})


stats_router = Router("/", route_handlers=[socket_stats], tags=["Operations"])


def quantile(histogram: Collector, share: float) -> float | None:
    """Below what so large a share of the observations lies, as well as the buckets tell; None without any.

    Within a bucket they are taken as evenly spread; beyond the last bound nothing is known but that bound.
    """
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for family in histogram.collect()
        for sample in family.samples
        if sample.name.endswith("_bucket")
    ]
    wanted, low_bound, low_count = share * buckets[-1][1], 0.0, 0.0
    if not buckets[-1][1]:
        return None
    for bound, count in buckets[:-1]:
        if count >= wanted:
            return round(low_bound + (bound - low_bound) * (wanted - low_count) / (count - low_count), 4)
        low_bound, low_count = bound, count
    return low_bound


def _by_label(counter: Collector, label: str) -> dict[str, int]:
    return {
        sample.labels[label]: int(sample.value)
        for family in counter.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _sum(counter: Collector) -> int:
    return sum(
        int(sample.value)
        for family in counter.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    )
