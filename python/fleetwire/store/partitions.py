"""Partitions are made before a group needs them, each in a transaction of its own: an ATTACH waits for nobody.

Their names say what they hold: `track_segment_d20251122` a day, `track_segment_m202405` a month, in UTC; the same for
`track_merged`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg
import structlog

from fleetwire.errors import DatabaseAway
from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime import clock

_log = structlog.get_logger(__name__)
_SQL = statements.load("store/ingest")
_PARENT = re.compile(r"\btrack_(?:segment|merged)\b")
_EPOCH = date(1970, 1, 1)
_NAME = re.compile(r"track_(?:segment|merged)_(?:d(\d{4})(\d\d)(\d\d)|m(\d{4})(\d\d))")


TROUBLED_SECS: Final = 5.0


@dataclass(slots=True)
class Made:
    """Partitions that were made, and the days (since 1970) that have none yet."""

    count: int = 0
    days_left: list[int] = field(default_factory=list)
    """There were too many of them, or too little time, or `error`."""
    detached_days: list[int] = field(default_factory=list)
    """Their partition is being removed or put back."""
    error: DatabaseAway | None = None


class Partitions:
    """Knows the days that have a partition. Its memory is only a shortcut: making one twice is harmless."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: set[int] = set()
        self._troubled_until_secs = 0.0

    def missing(self, days: Iterable[int]) -> list[int]:
        """Returns those of the days, counted from 1970, that are not known to have a partition."""
        known = self._known
        return [day for day in days if day not in known]

    @property
    def is_troubled(self) -> bool:
        """Whether making one failed a moment ago. A group that others wait in does not try again so soon."""
        return clock.monotonic_secs() < self._troubled_until_secs

    async def make(self, days: Iterable[int], *, max_partitions: int, give_up_at_secs: float) -> Made:
        """Makes sure of the days' partitions, one after the other, each in a transaction of its own.

        Raises:
            asyncpg.InvalidParameterValueError: by the clock of the database, no fix may have such a day.
        """
        made, left = Made(), self.missing(days)
        while left and made.count < max_partitions and clock.monotonic_secs() < give_up_at_secs:
            try:
                await self._make(left[0])
                made.count += 1
                self._troubled_until_secs = 0.0
            except asyncpg.ObjectNotInPrerequisiteStateError as error:
                made.detached_days.append(left[0])
                _log.warning("A day has no partition for the moment.", error=str(error))
            except TRANSIENT as error:
                made.error = DatabaseAway()
                self._troubled_until_secs = clock.monotonic_secs() + TROUBLED_SECS
                _log.warning("A partition could not be made.", error=repr(error))
                break
            left = [day for day in self.missing(left) if day not in made.detached_days]
        made.days_left = left
        return made

    async def _make(self, day: int) -> None:
        async with acquire(self._pool) as connection:
            held = await connection.fetchval(_SQL["partition_for"], _EPOCH + timedelta(days=day))
        self._know(held.lower, held.upper)

    async def learn(self) -> None:
        """Reads which partitions there are, instead of what was known before."""
        async with acquire(self._pool) as connection:
            names = await connection.fetch(_SQL["partition_names"])
        self._known.clear()
        for start, end in (span_of(row["name"]) for row in names):
            self._know(start.date(), end.date())

    def _know(self, start: date, end: date) -> None:
        self._known.update(range((start - _EPOCH).days, (end - _EPOCH).days))

    async def ahead(self) -> None:
        """Makes those of today and tomorrow, so that midnight finds its partition ready, and learns which there are."""
        today = datetime.fromtimestamp(clock.now_millis() / 1000, UTC).date()
        async with acquire(self._pool) as connection:
            await connection.execute(_SQL["ensure_days"], [today, today + timedelta(days=1)])
        await self.learn()


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
