"""What a device keeps until there is a receipt for it.

    push -> waiting fixes -> take -> one batch in flight -> settle -> forgotten
                                          ^ take gives the same batch again until it is settled

Bounded: when `max_fixes` are held, new fixes are dropped and counted. What is held already is never given up for newer
ones, so the track of a long silence keeps its beginning and is not thinned at random.
"""

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Fixes sent together; a repeat carries the same number and the same fixes."""

    number: int
    fixes: list[dict[str, Any]]


class Outbox:
    """Holds the fixes of one device, oldest first."""

    def __init__(self, *, max_fixes: int) -> None:
        self._max_fixes = max_fixes
        self._waiting: list[dict[str, Any]] = []
        self._in_flight: Batch | None = None
        self._number = 0
        self.dropped = 0
        """Fixes that found the outbox full."""

    @property
    def held(self) -> int:
        """Fixes without a receipt."""
        return len(self._waiting) + (len(self._in_flight.fixes) if self._in_flight else 0)

    def push(self, fix: dict[str, Any]) -> None:
        """Keeps a fix, or drops it when full."""
        if self.held >= self._max_fixes:
            self.dropped += 1
        else:
            self._waiting.append(fix)

    def take(self) -> Batch | None:
        """The batch to send now: the one without a receipt if there is one, else all that is waiting."""
        if self._in_flight is None and self._waiting:
            self._number += 1
            self._in_flight = Batch(self._number, self._waiting)
            self._waiting = []
        return self._in_flight

    def settle(self, batch: Batch) -> None:
        """Forgets a batch that was answered for good. A second answer to the same batch changes nothing."""
        if self._in_flight is not None and self._in_flight.number == batch.number:
            self._in_flight = None
