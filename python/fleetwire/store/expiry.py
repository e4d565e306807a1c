"""Retention: what is older than its tenant keeps fixes goes, whole partitions where every tenant's have expired.

A partition is detached CONCURRENTLY, which waits for those who use it and lets nobody wait, and dropped when it is
nobody's any more. Rows of tenants that keep fixes for less time than others are deleted a few at a time.

The time is that of the server or of the database, whichever is earlier: one clock that runs ahead deletes nothing.

Expired fixes are also refused at the door (`retention.py`), so nothing comes back: what is deleted here lies a margin
behind what a batch may still hold that is being committed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from fleetwire import clock, metrics
from fleetwire.store import statements
from fleetwire.store.partitions import span_of

_log = structlog.get_logger(__name__)
_SQL = statements.load("expiry")

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

    def __init__(
        self, connection: asyncpg.Connection, *, retention_days: int, pace: Callable[[float], Awaitable[bool]]
    ) -> None:
        self._connection = connection
        self._retention_days = retention_days
        self._pace = pace
        self._done = Expired()

    async def run(self, *, now_millis: int) -> Expired:
        """Deletes what has expired, until all is done or the pace says stop."""
        now = datetime.fromtimestamp(now_millis / 1000, UTC) - MARGIN
        days_of = {
            tenant_id: self._retention_days if days is None else days
            for tenant_id, days in await self._connection.fetch(_SQL["tenants"])
        }
        longest = longest_days([*days_of.values(), *([] if days_of else [self._retention_days])])
        if longest is not None:
            await self._drop_partitions(now - timedelta(days=longest))
        for tenant_id, days in days_of.items():
            if days and days != longest and not await self._delete(tenant_id, now - timedelta(days=days)):
                break
        return self._done

    async def _drop_partitions(self, before: datetime) -> None:
        for row in await self._connection.fetch(_SQL["partitions"]):
            name = row["name"]
            _, end = span_of(name)
            if end > before:
                continue
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
                # Somebody reads it for long, an export perhaps. What is half detached is finished in the next round.
                _log.warning("An expired partition is still in use.", partition=name, error=str(error))
                continue
            self._count(fixes)
            self._done.partitions_dropped += 1
            _log.info("An expired partition is dropped.", partition=name, fixes=fixes)

    async def _delete(self, tenant_id: int, before: datetime) -> bool:
        for statement in (_SQL["delete_segments"], _SQL["delete_merged"]):
            segments = ROWS_AT_ONCE
            while segments == ROWS_AT_ONCE:
                began_secs = clock.monotonic_secs()
                segments, fixes = await self._connection.fetchrow(statement, tenant_id, before, ROWS_AT_ONCE)
                self._count(fixes)
                if not await self._pace(clock.monotonic_secs() - began_secs):
                    return False
        return True

    def _count(self, fixes: int) -> None:
        self._done.fixes += fixes
        metrics.EXPIRED_FIXES.inc(fixes)


def longest_days(days: list[int]) -> int | None:
    """The longest of these retentions; None, for ever, if one of them is 0."""
    return max(days) if days and 0 not in days else None
