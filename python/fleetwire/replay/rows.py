"""Defines the row type that all readers yield, and its validation.

A row is a plain tuple: at some hundred thousand rows per second an object per row would cost more than the parsing.
Values are passed on as recorded; the server decides whether they are plausible. A row is unreadable only if a value
cannot be written as JSON (text that is no number, NaN, infinities).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TypeAlias

from fleetwire.errors import FleetwireError

TraceRow: TypeAlias = tuple[
    str, int, float, float, float | None, float | None, float | None, float | None, float | None
]
"""device, fixed_at (ms since 1970), latitude, longitude, altitude (m), speed (m/s), heading (degrees), accuracy (m),
battery (0..1); the units and the order of the contract's members."""

TraceRows: TypeAlias = Iterator[TraceRow]

READ_ERRORS = (OSError, EOFError, zlib.error, UnicodeDecodeError)
"""Exceptions of reading a truncated, damaged or non-UTF-8 file."""

MAX_MILLIS = 2**53  # largest integer that is exact in a JSON double; far beyond any clock
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class TraceError(FleetwireError):
    """Ends the reading of a file. The message starts with `file:line:`."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}:{line}: {reason}")


@dataclass(slots=True)
class UnreadableRows:
    """Counts rows that were skipped because a value is unreadable; shared by all files of a replay."""

    rows: int = 0
    first: str | None = None
    """`file:line: reason` of the first skipped row."""

    def add(self, name: str, line: int, reason: object) -> None:
        """Counts one skipped row."""
        self.rows += 1
        if self.first is None:
            self.first = f"{name}:{line}: {reason}"


def validated(row: TraceRow) -> TraceRow:
    """Returns the row unchanged.

    Raises:
        ValueError: a value in it cannot be written as JSON.
    """
    device, fixed_at_millis, latitude, longitude, *optional = row
    if not device:
        raise ValueError("no device")
    if not -MAX_MILLIS <= fixed_at_millis <= MAX_MILLIS:
        raise ValueError("the time is out of reach")
    if not (isfinite(latitude) and isfinite(longitude)):
        raise ValueError("the position is not a finite number")
    for value in optional:
        if value is not None and not isfinite(value):
            raise ValueError(f"{value} is not a finite number")
    return row


def parse_millis(value: object) -> int:
    """Parses a time: a number is milliseconds since 1970, text is ISO 8601, in UTC if it has no offset.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("the time is not a finite number")
        return round(value)
    if not isinstance(value, str):
        raise ValueError("no time")  # noqa: TRY004 - callers count unreadable values, whatever their type
    moment = datetime.fromisoformat(value.strip())
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - EPOCH) // MILLISECOND
