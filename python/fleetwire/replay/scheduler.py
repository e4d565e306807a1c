"""Schedules the batches of a paced replay: orders them by due time and delays each until its time.

Recorded time passes at the replay's speed factor. A gap of the whole recording is shortened to MAX_GAP_SECS, so that
files from different years can follow each other.

Batches are closed later than their last fix was recorded, and not in the order of their last fixes. They wait in a heap
until no open batch can precede them, and leave it in the order of their due times.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from heapq import heappop, heappush

from fleetwire.replay.batches import ReplayBatch
from fleetwire.runtime.clock import monotonic_secs

MAX_GAP_SECS = 3600.0


class BatchScheduler:
    """Delays closed batches until the recorded time of their last fix.

    `clock` and `sleep` stand in for real time in tests.
    """

    def __init__(
        self,
        *,
        speed: float,
        max_span_millis: float,
        clock: Callable[[], float] = monotonic_secs,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._speed = speed
        self._max_span_millis = max_span_millis
        self._clock = clock
        self._sleep = sleep
        self._waiting: list[tuple[int, int, ReplayBatch]] = []
        self._added = 0
        self._started_secs: float | None = None
        self._origin_millis = 0
        self._newest_millis = 0

    def add(self, batches: Iterable[ReplayBatch]) -> None:
        """Adds closed batches."""
        for batch in batches:
            # The sequence number preserves the order of batches with equal due times.
            heappush(self._waiting, (batch.due_millis, self._added, batch))
            self._added += 1

    def ready(self, newest_millis: float) -> Iterator[ReplayBatch]:
        """Yields the batches that no open batch can precede, in the order of their due times.

        Every open batch starts less than `max_span_millis` before the newest row.
        """
        while self._waiting and self._waiting[0][0] <= newest_millis - self._max_span_millis:
            yield heappop(self._waiting)[2]

    async def wait_until_due(self, batch: ReplayBatch) -> None:
        """Sleeps until the last fix of a batch is due; returns at once for a late batch."""
        due_millis = batch.due_millis
        if self._started_secs is None:
            self._started_secs = self._clock()
            self._origin_millis = self._newest_millis = due_millis
        excess_millis = due_millis - self._newest_millis - MAX_GAP_SECS * 1000
        if excess_millis > 0:
            self._origin_millis += round(excess_millis)
        self._newest_millis = max(self._newest_millis, due_millis)
        due_secs = self._started_secs + (due_millis - self._origin_millis) / 1000 / self._speed
        await self._sleep(max(0.0, due_secs - self._clock()))
