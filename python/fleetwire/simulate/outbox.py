"""Buffers the fixes of a device until the server acknowledges them.

    add -> queued fixes -> next_batch -> one batch in flight -> acknowledge -> removed
                              ^ returns the same batch until it is acknowledged

Bounded: at `max_fixes` new fixes are dropped and counted. Buffered fixes are never replaced by newer ones, so the
track of a long outage retains its beginning without gaps.
"""

from typing import Any, NamedTuple


class PendingBatch(NamedTuple):
    """Fixes sent together; a repeat has the same number and the same fixes."""

    number: int
    fixes: list[dict[str, Any]]


class DeviceOutbox:
    """Buffers the fixes of one device, oldest first."""

    def __init__(self, *, max_fixes: int) -> None:
        self._max_fixes = max_fixes
        self._queued: list[dict[str, Any]] = []
        self._in_flight: PendingBatch | None = None
        self._number = 0
        self.dropped = 0
        """Fixes dropped because the outbox was full."""

    @property
    def unacknowledged(self) -> int:
        """Number of fixes without a receipt."""
        return len(self._queued) + (len(self._in_flight.fixes) if self._in_flight else 0)

    def add(self, fix: dict[str, Any]) -> None:
        """Queues a fix, or drops it when the outbox is full."""
        if self.unacknowledged >= self._max_fixes:
            self.dropped += 1
        else:
            self._queued.append(fix)

    def next_batch(self) -> PendingBatch | None:
        """Returns the batch to send: the one in flight if there is one, else all queued fixes."""
        if self._in_flight is None and self._queued:
            self._number += 1
            self._in_flight = PendingBatch(self._number, self._queued)
            self._queued = []
        return self._in_flight

    def acknowledge(self, batch: PendingBatch) -> None:
        """Removes a batch after its final answer. A second answer to the same batch changes nothing."""
        if self._in_flight is not None and self._in_flight.number == batch.number:
            self._in_flight = None
