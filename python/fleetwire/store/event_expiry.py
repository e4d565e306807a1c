"""Retention of events: what was recorded before a time goes, a few rows at a time, the oldest first.

Watchers that come back with a number older than what is kept are told so (`gap`).
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg

from fleetwire import clock, metrics
from fleetwire.store import statements

_SQL = statements.load("event")

ROWS_AT_ONCE = 2_000


async def expire_events(
    connection: asyncpg.Connection, *, retention_days: int, now_millis: int, pace: Callable[[float], Awaitable[bool]]
) -> int:
    """Deletes events recorded more than so many days ago, until all is done or the pace says stop; returns how many.

    Args:
        connection: the owner's, in no transaction.
        retention_days: 0 keeps them for ever.
        now_millis: ms since 1970.
        pace: told after each transaction how many seconds it took; says whether to go on.
    """
    if not retention_days:
        return 0
    before = datetime.fromtimestamp(now_millis / 1000, UTC) - timedelta(days=retention_days)
    total = 0
    for row in await connection.fetch(_SQL["tenants"]):
        deleted = ROWS_AT_ONCE
        while deleted == ROWS_AT_ONCE:
            began_secs = clock.monotonic_secs()
            deleted = int(await connection.fetchval(_SQL["delete_old"], row["tenant_id"], before, ROWS_AT_ONCE))
            total += deleted
            metrics.EXPIRED_EVENTS.inc(deleted)
            if not await pace(clock.monotonic_secs() - began_secs):
                return total
    return total
