"""Merging: the many small segments of closed hours become few large ones, while ingest goes on.

What is due is found partition by partition, the oldest first, and merged device by device (`merging.py`). A device that
is busy is left for the next round. A closed day's partition of `track_segment` ends up empty and gives back its space.
"""

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from fleetwire import clock, metrics
from fleetwire.store import statements
from fleetwire.store.merging import READY_FIXES, TINY_FIXES, TINY_ROWS, Merged, Merger, Span
from fleetwire.store.partitions import span_of

_log = structlog.get_logger(__name__)
_SQL = statements.load("compaction")

DEVICES_PER_PAGE = 200
_DAY = timedelta(days=1)

Pace = Callable[[float], Awaitable[bool]]
"""Called after each transaction with the seconds it took; may sleep. False ends the round."""


class Compaction:
    """Merges over one connection of the owner. Only one process at a time; `Upkeep` sees to that."""

    def __init__(self, connection: asyncpg.Connection, *, merge_after_secs: float, pace: Pace) -> None:
        self._connection = connection
        self._merge_after = timedelta(seconds=merge_after_secs)
        self._pace = pace
        self._done = Merged()
        self._merger = Merger(connection, self._done)

    async def run(self, *, now_millis: int, visited: dict[str, datetime]) -> Merged:
        """Merges what is due, the oldest first, until all is done or the pace says stop.

        `visited` remembers, from one run to the next, up to which hour an open day has been gone through.
        """
        now = datetime.fromtimestamp(now_millis / 1000, UTC)
        until = (now - self._merge_after).replace(minute=0, second=0, microsecond=0)
        for row in await self._connection.fetch(_SQL["partitions_in_use"]):
            name = row["name"]
            start, end = span_of(name)
            if start >= until or visited.get(name) == until:
                continue
            await self._connection.execute(_SQL["ensure_merged_partition"], name)
            for span in _spans(start, min(end, until), is_closed=end <= until):
                if not await self._merge_span(span):
                    return self._done
            if end <= until:
                visited.pop(name, None)
                await self._give_back(name)
            else:
                visited[name] = until
        return self._done

    async def _merge_span(self, span: Span) -> bool:
        """Merges every device's segments of the span. False: the pace said stop."""
        least_fixes, least_tiny = (1, 1) if span.is_closed else (READY_FIXES, TINY_ROWS)
        after: tuple[int, int] = (-1, -1)
        while True:
            async with self._connection.transaction(readonly=True):
                await self._connection.execute(_SQL["read_in_order"])
                page = await self._connection.fetch(
                    _SQL["to_merge"],
                    span.start,
                    span.end,
                    *after,
                    least_fixes,
                    least_tiny,
                    TINY_FIXES,
                    DEVICES_PER_PAGE,
                )
            for tenant_id, device_id in page:
                if not await self._merge_device(tenant_id, device_id, span):
                    return False
            if len(page) < DEVICES_PER_PAGE:
                return True
            after = page[-1]["tenant_id"], page[-1]["device_id"]

    async def _merge_device(self, tenant_id: int, device_id: int, span: Span) -> bool:
        """Merges a device's segments of the span, a bounded number at a time. False: the pace said stop."""
        start: datetime | None = span.start
        while start is not None:
            began_secs = clock.monotonic_secs()
            try:
                start = await self._merger.merge(tenant_id, device_id, span._replace(start=start))
            except asyncpg.LockNotAvailableError:
                self._done.devices_skipped += 1
                start = None
            except ValueError as error:
                # What is stored cannot be right: it stays as it is, for a person to look at.
                metrics.MERGE_FAILURES.inc()
                _log.error("Segments cannot be merged.", tenant_id=tenant_id, device_id=device_id, error=str(error))
                self._done.devices_skipped += 1
                start = None
            if not await self._pace(clock.monotonic_secs() - began_secs):
                return False
        return True

    async def _give_back(self, partition: str) -> None:
        """Gives the space of an emptied partition back to the system; ingest may need it again at any time.

        VACUUM takes no lock that a writer waits for, and leaves a heap without pages once nobody can see the deleted
        rows any more. Its index keeps its pages; TRUNCATE frees them, which takes a moment alone with the partition: it
        is not waited for, and not begun while an older snapshot could miss anything.
        """
        if await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {partition})"):  # noqa: S608 - span_of knows it
            return
        await self._connection.execute(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE ON) {partition}")
        try:
            async with self._connection.transaction():
                await self._connection.execute(f"LOCK TABLE ONLY {partition} IN ACCESS EXCLUSIVE MODE NOWAIT")
                if await self._connection.fetchval("SELECT pg_relation_size($1::text::regclass)", partition) == 0:
                    await self._connection.execute(f"TRUNCATE ONLY {partition}")
                    self._done.partitions_emptied += 1
        except asyncpg.LockNotAvailableError:
            _log.debug("An emptied partition is in use; its index stays until the next round.", partition=partition)


def _spans(start: datetime, end: datetime, *, is_closed: bool) -> Iterator[Span]:
    """A partition's days; of an open one, what is closed of it."""
    while start < end:
        next_day = min(start + _DAY, end)
        yield Span(start, next_day, is_closed)
        start = next_day
