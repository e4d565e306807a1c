"""Partitions are made before a group needs them, never upon an error: an ATTACH waits for nobody."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import asyncpg

from fleetwire import clock
from fleetwire.store import statements
from fleetwire.store.pool import borrowed

_SQL = statements.load("ingest")
_EPOCH = date(1970, 1, 1)


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
