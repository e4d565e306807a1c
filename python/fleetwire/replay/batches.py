"""Groups rows into batches per device, in the order of the file, limited in fixes and in recorded time.

    rows -> open batch of their device -> closed when full
                                       -> closed when it spans `max_max_span_millis` of recorded time (paced replays)
                                       -> closed when all open batches together exceed MAX_OPEN_ROWS: fullest first
                                       -> closed at the end of the input

MAX_OPEN_ROWS bounds the memory, whatever the number of rows and devices.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import orjson

from fleetwire.replay.rows import TraceRow

_FIXED_AT = itemgetter(1)
MAX_OPEN_ROWS = 100_000
"""Rows in open batches, about 25 MB. Four hundred interleaved devices still fill batches of about 500 fixes."""
DRAIN_PARTS = 8
"""At the bound, one part in so many is closed at once, so that the search for the fullest batches is rare."""

_Closed: TypeAlias = tuple[str, list[TraceRow]]


class ReplayBatch(NamedTuple):
    """Encoded fixes of one device."""

    body: bytes
    fixes: int
    due_millis: int
    """Recorded time of the last fix."""


class Batcher:
    """Collects rows and yields batches; the rows of one device stay in order."""

    def __init__(
        self,
        *,
        batch_size: int,
        max_span_millis: float = float("inf"),
        device_prefix: str = "",
        shift_millis: int = 0,
        max_open_rows: int = MAX_OPEN_ROWS,
    ) -> None:
        self._batch_size = batch_size
        self._max_span_millis = max_span_millis
        self._prefix = device_prefix
        self._shift_millis = shift_millis
        self._max_open_rows = max_open_rows
        self._drain_rows = max_open_rows // DRAIN_PARTS
        self._open: dict[str, list[TraceRow]] = {}
        self._open_rows = 0
        self.newest_millis = -(2**63)
        """Newest recorded time; every open batch of a paced replay starts less than `max_span_millis` before it."""

    def add(self, rows: Sequence[TraceRow]) -> Iterator[ReplayBatch]:
        """Adds rows and returns an iterator over the batches that they close.

        Each batch is encoded when it is read, which takes about a millisecond; a caller in an event loop should yield
        to other tasks in between.
        """
        closed: list[_Closed] = []
        opened, batch_size, max_span_millis = self._open, self._batch_size, self._max_span_millis
        for row in rows:
            device, fixed_at_millis = row[0], row[1]
            open_rows = opened.get(device)
            if open_rows is not None and fixed_at_millis - open_rows[0][1] >= max_span_millis:
                closed.append(self._close(device))
                open_rows = None
            if open_rows is None:
                open_rows = opened[device] = []
            open_rows.append(row)
            self._open_rows += 1
            if len(open_rows) >= batch_size:
                closed.append(self._close(device))
        newest_millis = self.newest_millis = max(
            self.newest_millis, max(map(_FIXED_AT, rows), default=self.newest_millis)
        )
        if max_span_millis != float("inf"):
            expired = [device for device, rows in opened.items() if newest_millis - rows[0][1] >= max_span_millis]
            closed.extend(self._close(device) for device in expired)
        if self._open_rows > self._max_open_rows:
            closed.extend(self._drain())
        return map(self._encode, closed)

    def flush(self) -> Iterator[ReplayBatch]:
        """Closes all open batches, in the order in which they were opened."""
        return map(self._encode, [self._close(device) for device in list(self._open)])

    def _drain(self) -> Iterator[_Closed]:
        goal_rows = self._max_open_rows - self._drain_rows
        for device in sorted(self._open, key=lambda device: -len(self._open[device])):
            if self._open_rows <= goal_rows:
                return
            yield self._close(device)

    def _close(self, device: str) -> _Closed:
        rows = self._open.pop(device)
        self._open_rows -= len(rows)
        return device, rows

    def _encode(self, closed: _Closed) -> ReplayBatch:
        device, rows = closed
        shift_millis = self._shift_millis
        body = orjson.dumps({"device": self._prefix + device, "fixes": [_fix(row, shift_millis) for row in rows]})
        return ReplayBatch(body, len(rows), max(map(_FIXED_AT, rows)))


def _fix(row: TraceRow, shift_millis: int) -> dict[str, Any]:
    """Returns a fix with the members of the HTTP contract; omits those that the recording lacks."""
    _, fixed_at_millis, latitude, longitude, altitude, speed, heading, accuracy, battery = row
    fix: dict[str, Any] = {
        "timestamp": fixed_at_millis + shift_millis,
        "latitude": latitude,
        "longitude": longitude,
    }
    if altitude is not None:
        fix["altitude"] = altitude
    if speed is not None:
        fix["speed"] = speed
    if heading is not None:
        fix["heading"] = heading
    if accuracy is not None:
        fix["accuracy"] = accuracy
    if battery is not None:
        fix["battery"] = battery
    return fix
