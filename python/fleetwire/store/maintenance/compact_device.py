"""One device's segments merged, in one transaction.

    track_segment  -- all that is closed of a day, or half a full row of it -->  track_merged
    track_segment  -- many rows of a few fixes within an hour -->                track_segment

The transaction holds the lock on the device's live position, as every group commit does that writes this device. A late
fix for the hour being merged is therefore stored before the merge, which then takes it along, or after it, when its
commit reads the merged row to know what is stored. A crash leaves either what was or what is.
docs/adr/0011-merging.md says why there are two tables.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

import asyncpg

from fleetwire._core import merge_segments
from fleetwire.postgres import statements
from fleetwire.store.partitions import merged_name, on_partition
from fleetwire.telemetry import metrics

_SQL = statements.load("store/maintenance/compaction")

FULL_FIXES = 3_600  # an hour at a fix a second: 40 to 50 KB, and what a late fix must read to find its place
READY_FIXES = FULL_FIXES // 2  # of an open day: a row of these is good for ever, a smaller one waits for the day's end
SMALL_FIXES = FULL_FIXES // 4  # a merged row below this is merged again with what comes later
TINY_FIXES = 16  # a row below this costs more in its head than in its fixes
TINY_ROWS = 8  # of an hour; fewer are not worth a transaction
FIXES_AT_ONCE = 20_000  # about 50 ms with the lock held
ROWS_AT_ONCE = 4_000  # up to 100 ms for rows of one; an hour of them becomes one row at once
LOCK_TIMEOUT = "100ms"
_DAY = timedelta(days=1)
_ANY_FIXES = 2**31 - 1


@dataclass(slots=True)
class Merged:
    """What was done."""

    segments_before: int = 0
    segments_after: int = 0
    fixes: int = 0
    devices_skipped: int = 0
    partitions_emptied: int = 0


class CompactionSpan(NamedTuple):
    """Where a device's segments are merged: those that begin from `start` on and before `end`, of one UTC day."""

    start: datetime
    end: datetime
    is_closed: bool
    """Whether the day is over, so that nothing regular follows."""
    partition: str
    """Of track_segment, in which they are."""


class _Key(NamedTuple):
    first_at: datetime
    fix_count: int


class Merger:
    """Merges over one connection of the owner and adds to `done` what it did."""

    def __init__(self, connection: asyncpg.Connection, done: Merged) -> None:
        self._connection = connection
        self._done = done

    async def merge(self, tenant_id: int, device_id: int, span: CompactionSpan) -> datetime | None:
        """One transaction. Returns where the next one begins, None if nothing of the span is left.

        Raises:
            asyncpg.LockNotAvailableError: the device is being written to.
            ValueError: what is stored cannot be read, or a time is stored twice.
        """
        device = (tenant_id, device_id)
        async with self._connection.transaction():
            await self._connection.execute(_SQL["be_brief"], LOCK_TIMEOUT)
            if not await self._connection.fetch(_SQL["lock_device"], [tenant_id], [device_id]):
                return None
            statement = on_partition(_SQL["segment_keys"], span.partition)
            rows = await self._connection.fetch(statement, *device, span.start, span.end, ROWS_AT_ONCE)
            every = [_Key(*row) for row in rows]
            keys = list(_first(every))
            if span.is_closed or sum(key.fix_count for key in keys) >= READY_FIXES:
                await self._pack(device, keys, span.partition)
            else:
                for group in _tiny_hours(keys):
                    stored = await self._take(device, group, span.partition, below_fixes=TINY_FIXES)
                    await self._write(device, group, stored, target=span.partition)
        is_all = len(keys) == len(every) < ROWS_AT_ONCE
        return None if is_all else keys[-1].first_at + timedelta(milliseconds=1)

    async def _pack(self, device: tuple[int, int], keys: Sequence[_Key], partition: str) -> None:
        """Moves segments to track_merged, together with what is small there of the same day."""
        if not keys:
            return
        merged_partition = merged_name(partition)
        day = keys[0].first_at.replace(hour=0, minute=0, second=0, microsecond=0)
        statement = on_partition(_SQL["merged_keys"], merged_partition)
        rows = await self._connection.fetch(statement, *device, day, day + _DAY, ROWS_AT_ONCE)
        small = [key for key in _first(_Key(*row) for row in rows) if key.fix_count < SMALL_FIXES]
        stored = await self._take(device, keys, partition, below_fixes=_ANY_FIXES)
        if small:
            statement = on_partition(_SQL["take_merged"], merged_partition)
            stored += await self._connection.fetch(statement, *device, [key.first_at for key in small])
        await self._write(device, [*keys, *small], stored, target=merged_partition)

    async def _take(
        self, device: tuple[int, int], keys: Sequence[_Key], partition: str, *, below_fixes: int
    ) -> list[asyncpg.Record]:
        """Deletes these segments, all that the device has in their time with fewer fixes, and returns them."""
        statement = on_partition(_SQL["take_segments"], partition)
        return list(await self._connection.fetch(statement, *device, keys[0].first_at, keys[-1].first_at, below_fixes))

    async def _write(
        self, device: tuple[int, int], keys: Sequence[_Key], stored: Sequence[asyncpg.Record], *, target: str
    ) -> None:
        """Writes what deleted rows merge to. Deleted before: a row may begin where another one began."""
        fixes = sum(key.fix_count for key in keys)
        copy, rows, written = merge_segments(*device, [tuple(row) for row in stored], max_fixes=FULL_FIXES)
        if len(keys) != len(stored) or fixes != written:
            raise RuntimeError(
                f"{len(keys)} segments of {fixes} fixes were to be merged, {len(stored)} of {written} were."
            )
        await self._connection.copy_to_table(
            target, source=memoryview(copy), columns=statements.TRACK_SEGMENT_COLUMNS, format="binary"
        )
        await self._connection.execute(_SQL["count_merge"], *device)
        self._done.segments_before += len(stored)
        self._done.segments_after += rows
        self._done.fixes += written
        metrics.MERGED_SEGMENTS.inc(len(stored))
        metrics.MERGED_FIXES.inc(written)


def _first(keys: Iterable[_Key]) -> Iterator[_Key]:
    """As many as are merged at once, at least one."""
    fixes = 0
    for key in keys:
        fixes += key.fix_count
        if fixes > FIXES_AT_ONCE and fixes > key.fix_count:
            return
        yield key


def _tiny_hours(keys: Sequence[_Key]) -> Iterator[list[_Key]]:
    tiny = (key for key in keys if key.fix_count < TINY_FIXES)
    for _, group in groupby(tiny, lambda key: key.first_at.replace(minute=0, second=0, microsecond=0)):
        rows = list(group)
        if len(rows) >= TINY_ROWS:
            yield rows
