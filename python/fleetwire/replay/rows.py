"""The row that every reader gives, and what cannot be read.

A row is a bare tuple: at some hundred thousand rows per second a class per row would cost more than the parsing.
Values are passed on as they were recorded; whether they are plausible is for the server to say. Only what JSON has no
spelling for (text that is no number, NaN, infinities) makes a row unreadable.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TypeAlias

from fleetwire.errors import FleetwireError

Row: TypeAlias = tuple[str, int, float, float, float | None, float | None, float | None, float | None, float | None]
"""device, fixed_at (ms since 1970), latitude, longitude, altitude (m), speed (m/s), heading (degrees), accuracy (m),
battery (0..1); the units and the order of the contract's members."""

Rows: TypeAlias = Iterator[Row]

DAMAGE = (OSError, EOFError, zlib.error, UnicodeDecodeError)
"""What reading a file that is cut short, damaged or no UTF-8 raises."""

MAX_MILLIS = 2**53  # exact in JSON's doubles; far beyond any clock
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class TraceError(FleetwireError):
    """A file that cannot be read on. The message begins with `file:line:`."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}:{line}: {reason}")


@dataclass(slots=True)
class Unreadable:
    """Rows that were left out because a value in them is not a number; shared by all files of a replay."""

    rows: int = 0
    first: str | None = None
    """`file:line: reason` of the first."""

    def add(self, name: str, line: int, reason: object) -> None:
        """Counts one row."""
        self.rows += 1
        if self.first is None:
            self.first = f"{name}:{line}: {reason}"


def checked(row: Row) -> Row:
    """The same row.

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


def millis_of(value: object) -> int:
    """Reads a time: a number is milliseconds since 1970, text is ISO 8601, in UTC where it names no offset.

    Raises:
        ValueError: neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("the time is not a finite number")
        return round(value)
    if not isinstance(value, str):
        raise ValueError("no time")  # noqa: TRY004 - callers count values that cannot be read, whatever their type
    moment = datetime.fromisoformat(value.strip())
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - EPOCH) // MILLISECOND
