"""Routes of drivers: recorded traces, or seeded routes through the simulator's town."""

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import cycle, islice
from typing import Any, Protocol

from fleetwire.replay.readers import read_files
from fleetwire.replay.rows import TraceRow, UnreadableRows
from fleetwire.simulate import build_streets
from fleetwire.simulate.phone import Phone
from fleetwire.simulate.streets import Streets
from fleetwire.simulate.vehicle import Vehicle

_MEMBERS = ("latitude", "longitude", "altitude", "speed", "heading", "accuracy", "battery")
"""Members of a row after device and time."""


class Route(Protocol):
    """Produces the fixes of one driver."""

    def fix(self, at_millis: int, since_secs: float) -> dict[str, Any]:
        """Returns the next fix, `since_secs` after the previous one."""


class SeededRoute:
    """Drives a simulated vehicle with a phone."""

    def __init__(self, seed: int) -> None:
        streets = _streets()
        self._vehicle = Vehicle(streets, seed=seed)
        self._phone = Phone(streets, seed=seed)

    def fix(self, at_millis: int, since_secs: float) -> dict[str, Any]:
        """Returns the next fix."""
        self._vehicle.step(since_secs)
        return self._phone.fix(self._vehicle, at_millis=at_millis, since_secs=since_secs)


class RecordedRoute:
    """Repeats the recorded fixes of one device in order, with current times."""

    def __init__(self, rows: Sequence[TraceRow], *, skip: int) -> None:
        # Drivers that share a recording start at different places.
        self._rows: Iterator[TraceRow] = islice(cycle(rows), skip % len(rows), None)

    def fix(self, at_millis: int, since_secs: float) -> dict[str, Any]:  # noqa: ARG002 - the recording has its own intervals
        """Returns the next fix with its recorded members."""
        recorded = zip(_MEMBERS, next(self._rows)[2:], strict=True)
        return {"timestamp": at_millis} | {name: value for name, value in recorded if value is not None}


def create_route(number: int, *, traces: str, trace_rows: int, seed: int) -> Route:
    """Creates the route of driver `number`.

    Raises:
        TraceError: a trace cannot be read.
    """
    if not traces:
        return SeededRoute(seed * 1_000_003 + number)
    devices = list(_recorded(traces, trace_rows).values())
    rows = devices[number % len(devices)]
    skip = random.Random(seed + number).randrange(len(rows)) if number >= len(devices) else 0
    return RecordedRoute(rows, skip=skip)


@lru_cache(maxsize=1)
def _streets() -> Streets:
    return build_streets()


@lru_cache(maxsize=1)
def _recorded(traces: str, max_rows: int) -> Mapping[str, list[TraceRow]]:
    """Reads the rows of the traces by device, in the order of the files."""
    found: dict[str, list[TraceRow]] = {}
    files = [name.strip() for name in traces.split(",")]
    for row in islice(read_files(files, UnreadableRows(), merged=False, on_bytes=lambda _: None), max_rows):
        if abs(row[2]) <= 90 and abs(row[3]) <= 180:
            found.setdefault(row[0], []).append(row)
    if not found:
        raise ValueError(f"no positions in {traces}")
    return found
