"""When a batch may be sent.

Recorded time passes at the replay's factor; a silence of the whole recording longer than LONGEST_SILENCE_SECS is cut to
that, so that files from different years can follow each other.

Batches are closed later than their last fix is recorded, and not in the order of their last fixes. They wait in a heap
until no batch that is still open can come before them; then they go out in the order in which they are due.
"""

import asyncio
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from fleetwire.clock import monotonic_secs
from fleetwire.replay.batches import Batch

LONGEST_SILENCE_SECS = 3600.0


class Pace:
    """Holds closed batches back until the recorded time of their last fix has come."""

    def __init__(self, *, speed: float, span_millis: float) -> None:
        self._speed = speed
        self._span_millis = span_millis
        self._waiting: list[tuple[int, int, Batch]] = []
        self._pushed = 0
        self._began_secs: float | None = None
        self._began_millis = 0
        self._newest_millis = 0

    def push(self, batches: Iterable[Batch]) -> None:
        """Takes closed batches."""
        for batch in batches:
            # The running number keeps the order of batches that are due together.
            heappush(self._waiting, (batch.due_millis, self._pushed, batch))
            self._pushed += 1

    def settled(self, newest_millis: float) -> Iterator[Batch]:
        """The batches that nothing recorded up to now can precede any more, in the order they are due.

        An open batch began less than its span before the newest row, so whatever is due earlier than that is final.
        """
        while self._waiting and self._waiting[0][0] <= newest_millis - self._span_millis:
            yield heappop(self._waiting)[2]

    async def until_due(self, batch: Batch) -> None:
        """Sleeps until the batch's last fix is due; returns at once for a late one."""
        due_millis = batch.due_millis
        if self._began_secs is None:
            self._began_secs = monotonic_secs()
            self._began_millis = self._newest_millis = due_millis
        silence_millis = due_millis - self._newest_millis - LONGEST_SILENCE_SECS * 1000
        if silence_millis > 0:
            self._began_millis += round(silence_millis)
        self._newest_millis = max(self._newest_millis, due_millis)
        due_secs = self._began_secs + (due_millis - self._began_millis) / 1000 / self._speed
        await asyncio.sleep(max(0.0, due_secs - monotonic_secs()))
