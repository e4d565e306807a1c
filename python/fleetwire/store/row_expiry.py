"""Retention of events and of the audit log: what is older than a time goes, a few rows at a time, the oldest first.

Watchers that come back with a number older than the events that are kept are told so (`gap`).
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
from prometheus_client import Counter

from fleetwire import clock, metrics
from fleetwire.store import statements

Pace = Callable[[float], Awaitable[bool]]
"""Told after each transaction how many seconds it took; says whether to go on."""

ROWS_AT_ONCE = 2_000


async def expire_events(connection: asyncpg.Connection, *, retention_days: int, now_millis: int, pace: Pace) -> int:
    """Deletes events recorded more than so many days ago; as `_expire`."""
    return await _expire(connection, "event", metrics.EXPIRED_EVENTS, retention_days, now_millis, pace)


async def expire_audit(connection: asyncpg.Connection, *, retention_days: int, now_millis: int, pace: Pace) -> int:
    """Deletes entries of the audit log noted more than so many days ago; as `_expire`."""
    return await _expire(connection, "audit_expiry", metrics.EXPIRED_AUDIT_ENTRIES, retention_days, now_millis, pace)


async def _expire(  # noqa: PLR0917 - the two above name them
    connection: asyncpg.Connection, noun: str, counter: Counter, retention_days: int, now_millis: int, pace: Pace
) -> int:
    """Deletes tenant by tenant, until all is done or the pace says stop; returns how many rows.

    Args:
        connection: the owner's, in no transaction.
        noun: whose file of statements has `tenants` and `delete_old`.
        counter: of rows deleted.
        retention_days: 0 keeps them for ever.
        now_millis: ms since 1970.
        pace: of the transactions.
    """
    if not retention_days:
        return 0
    before = datetime.fromtimestamp(now_millis / 1000, UTC) - timedelta(days=retention_days)
    sql = statements.load(noun)
    total = 0
    for row in await connection.fetch(sql["tenants"]):
        deleted = ROWS_AT_ONCE
        while deleted == ROWS_AT_ONCE:
            began_secs = clock.monotonic_secs()
            deleted = int(await connection.fetchval(sql["delete_old"], row["tenant_id"], before, ROWS_AT_ONCE))
            total += deleted
            counter.inc(deleted)
            if not await pace(clock.monotonic_secs() - began_secs):
                return total
    return total
