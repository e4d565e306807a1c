"""Cuts rows into batches: per device, in the order of the file, at most so many fixes and so much recorded time each.

    rows -> open batch of their device -> closed when full
                                       -> closed when it spans `span_millis` of recorded time (paced replays)
                                       -> closed when the rows held reach WINDOW_ROWS: the fullest first
                                       -> closed at the end

Memory is bounded by WINDOW_ROWS whatever the number of rows and devices.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import orjson

from fleetwire.replay.rows import Row

_FIXED_AT = itemgetter(1)
WINDOW_ROWS = 100_000
"""Rows held in open batches, about 25 MB. Four hundred devices taking turns still fill batches of about 500 fixes."""
DRAIN_PARTS = 8
"""A full window lets go of one part in so many at once, so that looking for the fullest batches is rare."""

_Closed: TypeAlias = tuple[str, list[Row]]


class Batch(NamedTuple):
    """Fixes of one device, ready to be posted."""

    body: bytes
    fixes: int
    due_millis: int
    """Recorded time of the last fix."""


class Batcher:
    """Collects rows and gives batches. Rows of one device keep their order."""

    def __init__(
        self,
        *,
        batch_size: int,
        span_millis: float = float("inf"),
        device_prefix: str = "",
        shift_millis: int = 0,
        window_rows: int = WINDOW_ROWS,
    ) -> None:
        self._batch_size = batch_size
        self._span_millis = span_millis
        self._prefix = device_prefix
        self._shift_millis = shift_millis
        self._window_rows = window_rows
        self._drain_rows = window_rows // DRAIN_PARTS
        self._open: dict[str, list[Row]] = {}
        self._held_rows = 0
        self.newest_millis = -(2**63)
        """Newest recorded time so far; every open batch of a paced replay began less than its span before."""

    def add(self, rows: Sequence[Row]) -> Iterator[Batch]:
        """Takes rows and returns the batches they closed, each encoded when it is asked for.

        Encoding a batch takes about a millisecond; a caller on an event loop lets others have their turn in between.
        """
        closed: list[_Closed] = []
        opened, batch_size, span_millis = self._open, self._batch_size, self._span_millis
        for row in rows:
            device, fixed_at_millis = row[0], row[1]
            held = opened.get(device)
            if held is not None and fixed_at_millis - held[0][1] >= span_millis:
                closed.append(self._close(device))
                held = None
            if held is None:
                held = opened[device] = []
            held.append(row)
            self._held_rows += 1
            if len(held) >= batch_size:
                closed.append(self._close(device))
        newest_millis = self.newest_millis = max(
            self.newest_millis, max(map(_FIXED_AT, rows), default=self.newest_millis)
        )
        if span_millis != float("inf"):
            aged = [device for device, held in opened.items() if newest_millis - held[0][1] >= span_millis]
            closed.extend(self._close(device) for device in aged)
        if self._held_rows > self._window_rows:
            closed.extend(self._drain())
        return map(self._encode, closed)

    def flush(self) -> Iterator[Batch]:
        """Closes what is open, in the order in which it was begun."""
        return map(self._encode, [self._close(device) for device in list(self._open)])

    def _drain(self) -> Iterator[_Closed]:
        goal_rows = self._window_rows - self._drain_rows
        for device in sorted(self._open, key=lambda device: -len(self._open[device])):
            if self._held_rows <= goal_rows:
                return
            yield self._close(device)

    def _close(self, device: str) -> _Closed:
        rows = self._open.pop(device)
        self._held_rows -= len(rows)
        return device, rows

    def _encode(self, closed: _Closed) -> Batch:
        device, rows = closed
        shift_millis = self._shift_millis
        body = orjson.dumps({"device": self._prefix + device, "fixes": [_fix(row, shift_millis) for row in rows]})
        return Batch(body, len(rows), max(map(_FIXED_AT, rows)))


def _fix(row: Row, shift_millis: int) -> dict[str, Any]:
    """The contract's members; what the recording does not have is left out."""
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
