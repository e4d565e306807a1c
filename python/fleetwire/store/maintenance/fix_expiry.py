"""Retention of fixes: partition by partition, the oldest first, what is older than its tenant keeps fixes is deleted.

A partition of which everything has expired for every tenant is detached CONCURRENTLY, which waits for those who use it
and lets nobody wait, and dropped when it is nobody's any more. Of the others, expired rows are deleted a few at a time,
those of all tenants together and in that partition alone: a statement over the parent would be planned over every
partition. So a pass takes a statement or two for each partition, however many tenants there are.

A row goes when its last fix has expired. Readers see no expired fix of it until then (`live/routes.py`).

The time is that of the server or of the database, whichever is earlier: one clock that runs ahead deletes nothing.

Expired fixes are also refused at ingest (`retention.py`), so nothing comes back: what is deleted here lies a margin
before what a batch may still hold that is being committed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from fleetwire.postgres import statements
from fleetwire.runtime import clock
from fleetwire.store.maintenance.detached import attach_unexpired, is_in_use
from fleetwire.store.maintenance.job import Pace, Place
from fleetwire.store.partitions import on_partition, span_of
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("store/maintenance/expiry")

MARGIN = timedelta(hours=1)  # workers know a tenant's retention for a minute, and a spool may drain what is older
CLOCKS_AGREE_MILLIS = 60 * 60 * 1000
ROWS_AT_ONCE = 2_000
_IN_USE = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # another partition of the table is half detached
)


@dataclass(slots=True)
class Expired:
    """What a round did."""

    partitions_dropped: int = 0
    fixes: int = 0
    events: int = 0
    audit_entries: int = 0

    @property
    def rows(self) -> int:
        """Fixes, events and entries of the audit log together."""
        return self.fixes + self.events + self.audit_entries


async def agreed_millis(connection: asyncpg.Connection, *, now_millis: int) -> int:
    """The earlier of the server's time and the database's, in ms since 1970; says when they are far apart."""
    database_millis: int = await connection.fetchval(_SQL["database_millis"])
    if abs(now_millis - database_millis) > CLOCKS_AGREE_MILLIS:
        ahead_secs = round((now_millis - database_millis) / 1000)
        _log.warning("The clocks of server and database differ; the earlier one counts.", ahead_secs=ahead_secs)
    return min(now_millis, database_millis)


class Expiry:
    """Deletes over one connection of the owner, which is in no transaction."""

    def __init__(self, connection: asyncpg.Connection, *, retention_days: int, pace: Pace) -> None:
        self._connection = connection
        self._retention_days = retention_days
        self._pace = pace
        self._done = Expired()

    async def run(self, *, now_millis: int, place: Place | None = None) -> Expired:
        """Deletes what has expired, until all is done or the pace says stop.

        `place` is the partition to go on with; it is empty afterwards if the pass is complete.
        """
        place = {} if place is None else place
        now = datetime.fromtimestamp(now_millis / 1000, UTC) - MARGIN
        days_of, longest = await self._retentions()
        befores = {tenant_id: now - timedelta(days=days) for tenant_id, days in days_of.items() if days}
        drop_before = None if longest is None else now - timedelta(days=longest)
        next_key: list[str] = place.setdefault("partition", ["", ""])
        for key, row in sorted((_key(row["name"]), row) for row in await self._connection.fetch(_SQL["partitions"])):
            if key < next_key:
                continue
            place["partition"] = key
            began_secs = clock.monotonic_secs()
            start, end = span_of(row["name"])
            expiring = {tenant_id: before for tenant_id, before in befores.items() if start < before}
            if drop_before is not None and end <= drop_before:
                await self._drop(row)
            elif expiring and row["is_attached"]:
                while await self._delete(row["name"], expiring) == ROWS_AT_ONCE:
                    if not await self._pace(clock.monotonic_secs() - began_secs):
                        return self._done
                    began_secs = clock.monotonic_secs()
            place["partition"] = [key[0], key[1] + "~"]  # the next one, whatever its name is
            if not await self._pace(clock.monotonic_secs() - began_secs):
                return self._done
        place.clear()
        return self._done

    async def settle(self, *, now_millis: int) -> None:
        """Finishes removals of partitions that were interrupted, and undoes those of what has not expired any more."""
        _, longest = await self._retentions()
        now = datetime.fromtimestamp(now_millis / 1000, UTC) - MARGIN
        before = None if longest is None else now - timedelta(days=longest)
        await attach_unexpired(self._connection, expired_before=before)
        for row in await self._connection.fetch(_SQL["partitions"]):
            is_detached = row["is_pending"] or not row["is_attached"]
            if is_detached and before is not None and span_of(row["name"])[1] <= before:
                await self._drop(row)

    async def _retentions(self) -> tuple[dict[int, int], int | None]:
        """The days that each tenant keeps its fixes, and the longest of them."""
        days_of = {
            tenant_id: self._retention_days if days is None else days
            for tenant_id, days in await self._connection.fetch(_SQL["tenants"])
        }
        return days_of, longest_days([*days_of.values(), *([] if days_of else [self._retention_days])])

    async def _drop(self, row: asyncpg.Record) -> None:
        name = row["name"]
        if row["is_attached"] and not row["is_pending"] and await is_in_use(self._connection, name):
            # Who uses the table for long, an export perhaps, would leave it half detached.
            _log.info("An expired partition is removed later, as its table is in use.", partition=name)
            return
        # S608: span_of() and the statement that lists them know the names.
        fixes = await self._connection.fetchval(f"SELECT coalesce(sum(fix_count), 0)::bigint FROM {name}")  # noqa: S608
        parent = name.rpartition("_")[0]
        try:
            if row["is_pending"]:
                await self._connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE")
            elif row["is_attached"]:
                await self._connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY")
            await self._connection.execute(f"DROP TABLE {name}")
        except _IN_USE as error:
            # Somebody reads it for long, an export perhaps. What is half detached is finished in the next pass.
            _log.warning("An expired partition is still in use.", partition=name, error=str(error))
            return
        self._count(fixes)
        self._done.partitions_dropped += 1
        _log.info("An expired partition is dropped.", partition=name, fixes=fixes)

    async def _delete(self, partition: str, befores: dict[int, datetime]) -> int:
        """Deletes some rows of these tenants and returns how many."""
        segments, fixes = await self._connection.fetchrow(
            on_partition(_SQL["delete_expired"], partition), list(befores), list(befores.values()), ROWS_AT_ONCE
        )
        self._count(fixes)
        return int(segments)

    def _count(self, fixes: int) -> None:
        self._done.fixes += fixes
        metrics.EXPIRED_FIXES.inc(fixes)


def longest_days(days: list[int]) -> int | None:
    """The longest of these retentions; None, for ever, if one of them is 0."""
    return max(days) if days and 0 not in days else None


def _key(name: str) -> list[str]:
    """Puts partitions in the order of time."""
    return [span_of(name)[0].isoformat(), name]
