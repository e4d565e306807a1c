"""Merging: the many small segments of closed hours become few large ones, while ingest goes on.

What is due is found partition by partition, the oldest first, and merged device by device (`merging.py`). A device that
is busy is left for the next round. A closed day's partition of `track_segment` ends up empty and gives back its space.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from fleetwire.postgres import statements
from fleetwire.runtime import clock
from fleetwire.store.maintenance.compact_device import (
    READY_FIXES,
    TINY_FIXES,
    TINY_ROWS,
    CompactionSpan,
    Merged,
    Merger,
)
from fleetwire.store.maintenance.job import Pace, Place
from fleetwire.store.partitions import on_partition, span_of
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("store/maintenance/compaction")

DEVICES_PER_PAGE = 200
_DAY = timedelta(days=1)
_FIRST = [-1, -1]
_EVER = datetime(9999, 12, 31, tzinfo=UTC)


class Compaction:
    """Merges over one connection of the owner. Only one process at a time; `Upkeep` sees to that."""

    def __init__(
        self, connection: asyncpg.Connection, *, merge_after_secs: float, pace: Pace, quiet_secs: float = 0.0
    ) -> None:
        """Prepares a run.

        Args:
            connection: the owner's, in no transaction.
            merge_after_secs: how long after its end an hour is closed.
            pace: decides about rests and the end.
            quiet_secs: a device to which fixes of a closed day were added more recently is left alone. An archive that
                is being replayed would otherwise be merged again and again while it grows, and leave holes behind.
        """
        self._connection = connection
        self._merge_after = timedelta(seconds=merge_after_secs)
        self._quiet = timedelta(seconds=quiet_secs)
        self._pace = pace
        self._quiet_since = _EVER
        self._done = Merged()
        self._merger = Merger(connection, self._done)

    async def run(self, *, now_millis: int, place: Place | None = None) -> Merged:
        """Merges what is due, partition by partition, until all is done or the pace says stop.

        `place` remembers from one run to the next where an unfinished pass goes on (`until`, `partition`, `day`,
        `device`), and up to which hour an open day has been gone through (`visited`).
        """
        place = {} if place is None else place
        now = datetime.fromtimestamp(now_millis / 1000, UTC)
        self._quiet_since = now - self._quiet if self._quiet else _EVER
        if "until" not in place:
            place["until"] = (now - self._merge_after).replace(minute=0, second=0, microsecond=0).isoformat()
        until = datetime.fromisoformat(place["until"])
        visited: dict[str, str] = place.setdefault("visited", {})
        for row in await self._connection.fetch(_SQL["partitions_in_use"]):
            name = row["name"]
            start, end = span_of(name)
            if name < place.get("partition", "") or start >= until or visited.get(name) == place["until"]:
                continue
            if name != place.get("partition"):
                place.update(partition=name, day=start.isoformat(), device=_FIRST)
            await self._connection.execute(_SQL["ensure_merged_partition"], name)
            for span in _spans(start, min(end, until), is_closed=end <= until, partition=name):
                if not await self._merge_span(span, place):
                    return self._done
            if end <= until:
                visited.pop(name, None)
                await self._give_back(name)
            else:
                visited[name] = place["until"]
        for key in ("until", "partition", "day", "device"):
            place.pop(key, None)
        return self._done

    async def _merge_span(self, span: CompactionSpan, place: Place) -> bool:
        """Merges every device's segments of the span. False: the pace said stop."""
        day = span.start.isoformat()
        if day < place["day"]:
            return True
        if day > place["day"]:
            place.update(day=day, device=_FIRST)
        least_fixes, least_tiny = (1, 1) if span.is_closed else (READY_FIXES, TINY_ROWS)
        quiet_since = self._quiet_since if span.is_closed else _EVER
        statement = on_partition(_SQL["to_merge"], span.partition)
        while True:
            began_secs = clock.monotonic_secs()
            async with self._connection.transaction(readonly=True):
                await self._connection.execute(_SQL["read_in_order"])
                page = await self._connection.fetch(
                    statement,
                    *(span.start, span.end, *place["device"]),
                    *(least_fixes, least_tiny, TINY_FIXES, quiet_since, DEVICES_PER_PAGE),
                )
            goes_on = await self._pace(clock.monotonic_secs() - began_secs)
            for tenant_id, device_id, is_due in page:
                # One device more than the pace allows: a slice that is over at once would never come further.
                if is_due:
                    goes_on = await self._merge_device(tenant_id, device_id, span)
                place["device"] = [tenant_id, device_id]
                if not goes_on:
                    return False
            if len(page) < DEVICES_PER_PAGE:
                return True
            if not goes_on:
                return False

    async def _merge_device(self, tenant_id: int, device_id: int, span: CompactionSpan) -> bool:
        """Merges a device's segments of the span, a bounded number at a time, to its end.

        Returns whether the pace says to go on.
        """
        goes_on = True
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
            goes_on = await self._pace(clock.monotonic_secs() - began_secs)
        return goes_on

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


def _spans(start: datetime, end: datetime, *, is_closed: bool, partition: str) -> Iterator[CompactionSpan]:
    """A partition's days; of an open one, what is closed of it."""
    while start < end:
        next_day = min(start + _DAY, end)
        yield CompactionSpan(start, next_day, is_closed, partition)
        start = next_day
