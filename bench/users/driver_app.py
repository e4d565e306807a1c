"""Shared by HTTP and WebSocket drivers: a device, its route, its batches, and the check of receipts."""

import random
from itertools import count
from typing import Any

import gevent
import orjson
from locust.env import Environment

from bench.users import counters, routes
from fleetwire.runtime.clock import monotonic_secs, now_millis

_numbers = count()


class DriverApp:
    """Produces the batches of one driver app."""

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options
        number = next(_numbers)
        # Each Locust process has its own range of device names.
        worker = getattr(environment.runner, "worker_index", 0)
        self.device = f"{options.device_prefix}{worker}-{number:05}"
        self._batch_size = options.batch_size
        self._every_secs = options.every_secs
        self._route = routes.create_route(
            number, traces=options.traces, trace_rows=options.trace_rows, seed=options.fleet_seed + worker
        )
        self._last_millis = now_millis() - round(options.every_secs * 1000)
        self.newest_millis = 0

    def start(self) -> None:
        """Waits for a random part of the interval, so that drivers that start together do not send together."""
        gevent.sleep(random.uniform(0, self._every_secs))

    def batch(self, **more: Any) -> bytes:  # noqa: ANN401 - members of the envelope
        """Encodes the fixes since the last batch, evenly spaced up to now."""
        span_millis = max(self._batch_size, now_millis() - self._last_millis)
        times = [self._last_millis + span_millis * (place + 1) // self._batch_size for place in range(self._batch_size)]
        self._last_millis = self.newest_millis = times[-1]
        since_secs = span_millis / self._batch_size / 1000
        fixes = [self._route.fix(at_millis, since_secs) for at_millis in times]
        return orjson.dumps({**more, "device": self.device, "fixes": fixes})

    def count(self, receipt: dict[str, Any]) -> str | None:
        """Counts a receipt; returns a description of what is wrong with it, or None."""
        counters.record_receipt(self.device, self.newest_millis, monotonic_secs())
        stored, duplicate, rejected = (receipt.get(name) for name in ("stored", "duplicate", "rejected"))
        if not (isinstance(stored, int) and isinstance(duplicate, int) and isinstance(rejected, list)):
            return f"no receipt: {receipt.get('code', receipt)}"
        counters.counts.update(stored=stored, duplicate=duplicate, rejected=len(rejected), batches=1)
        if stored + duplicate + len(rejected) != self._batch_size:
            return f"a receipt for {stored + duplicate + len(rejected)} fixes of {self._batch_size}"
        return f"rejected: {rejected[0]['code']}" if rejected else None
