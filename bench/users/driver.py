"""What drivers over HTTP and over WebSocket have in common: a device, its way, and batches by the clock."""

import random
from itertools import count
from typing import Any

import gevent
import orjson
from locust.env import Environment

from bench.users import tally, ways
from fleetwire.clock import monotonic_secs, now_millis

_numbers = count()


class Driver:
    """One driver's app."""

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options
        number = next(_numbers)
        # With several processes each has numbers of its own.
        worker = getattr(environment.runner, "worker_index", 0)
        self.device = f"{options.device_prefix}{worker}-{number:05}"
        self._batch_size = options.batch_size
        self._every_secs = options.every_secs
        self._way = ways.way(
            number, traces=options.traces, trace_rows=options.trace_rows, seed=options.fleet_seed + worker
        )
        self._last_millis = now_millis() - round(options.every_secs * 1000)
        self.newest_millis = 0

    def start(self) -> None:
        """Waits for a part of the interval: drivers who came together do not all send in the same instant."""
        gevent.sleep(random.uniform(0, self._every_secs))

    def batch(self, **more: Any) -> bytes:  # noqa: ANN401 - members of the envelope
        """The fixes since the last batch, evenly spaced up to now."""
        span_millis = max(self._batch_size, now_millis() - self._last_millis)
        times = [self._last_millis + span_millis * (place + 1) // self._batch_size for place in range(self._batch_size)]
        self._last_millis = self.newest_millis = times[-1]
        since_secs = span_millis / self._batch_size / 1000
        fixes = [self._way.fix(at_millis, since_secs) for at_millis in times]
        return orjson.dumps({**more, "device": self.device, "fixes": fixes})

    def count(self, receipt: dict[str, Any]) -> str | None:
        """Counts a receipt; returns what is wrong with it."""
        tally.answered(self.device, self.newest_millis, monotonic_secs())
        stored, duplicate, rejected = (receipt.get(name) for name in ("stored", "duplicate", "rejected"))
        if not (isinstance(stored, int) and isinstance(duplicate, int) and isinstance(rejected, list)):
            return f"no receipt: {receipt.get('code', receipt)}"
        tally.counts.update(stored=stored, duplicate=duplicate, rejected=len(rejected), batches=1)
        if stored + duplicate + len(rejected) != self._batch_size:
            return f"a receipt for {stored + duplicate + len(rejected)} fixes of {self._batch_size}"
        return f"rejected: {rejected[0]['code']}" if rejected else None
