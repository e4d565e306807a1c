"""Partitions are made before a group needs them, never upon an error: an ATTACH waits for nobody.

Their names say what they hold: `track_segment_d20251122` a day, `track_segment_m202405` a month, in UTC; the same for
`track_merged`.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import asyncpg

from fleetwire import clock
from fleetwire.store import statements
from fleetwire.store.pool import borrowed

_SQL = statements.load("ingest")
_PARENT = re.compile(r"\btrack_(?:segment|merged)\b")
_EPOCH = date(1970, 1, 1)
_NAME = re.compile(r"track_(?:segment|merged)_(?:d(\d{4})(\d\d)(\d\d)|m(\d{4})(\d\d))")


class Partitions:
    """Knows the days that have a partition. Its memory is only a shortcut: making one twice is harmless."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: set[int] = set()

    async def ensure(self, days: Iterable[int]) -> None:
        """Makes what is missing, in a transaction of its own. `days`: days since 1970."""
        missing = [day for day in days if day not in self._known]
        if not missing:
            return
        dates = [_EPOCH + timedelta(days=day) for day in missing]
        async with borrowed(self._pool) as connection:
            await connection.execute(_SQL["ensure_days"], dates)
        self._known.update(missing)

    async def ahead(self) -> None:
        """Today and tomorrow, so that midnight finds its partition ready."""
        today = (datetime.fromtimestamp(clock.now_millis() / 1000, UTC).date() - _EPOCH).days
        await self.ensure([today, today + 1])

    def forget(self) -> None:
        """Asks again for every day: some partition is gone."""
        self._known.clear()


def span_of(name: str) -> tuple[datetime, datetime]:
    """The time that a partition is for: its start, and its end, which belongs to the next one.

    Raises:
        ValueError: it is not the name of a partition.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is not the name of a partition")
    if found[1]:
        start = datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=UTC)
        return start, start + timedelta(days=1)
    start = datetime(int(found[4]), int(found[5]), 1, tzinfo=UTC)
    return start, (start + timedelta(days=31)).replace(day=1)


def merged_name(segment_partition: str) -> str:
    """The partition of track_merged for the time of one of track_segment."""
    return segment_partition.replace("track_segment_", "track_merged_")


def on_partition(statement: str, partition: str) -> str:
    """A statement on track_segment or track_merged for one partition: no other one is planned over or locked.

    Raises:
        ValueError: it is not the name of a partition.
    """
    span_of(partition)
    return _PARENT.sub(partition, statement)
