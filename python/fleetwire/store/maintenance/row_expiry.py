"""Retention of events and of the audit log: what is older than a time goes, a few rows at a time, the oldest first.

Watchers that come back with a number older than the events that are kept are told so (`gap`).
"""

from datetime import UTC, datetime, timedelta

import asyncpg
from prometheus_client import Counter

from fleetwire.postgres import statements
from fleetwire.runtime import clock
from fleetwire.store.maintenance.job import Pace, Place
from fleetwire.telemetry import metrics

ROWS_AT_ONCE = 2_000


async def expire_events(
    connection: asyncpg.Connection, *, retention_days: int, now_millis: int, pace: Pace, place: Place | None = None
) -> int:
    """Deletes events recorded more than so many days ago; as `_expire`."""
    goes_on_at = {} if place is None else place
    return await _expire(
        connection, "fanout/events/event", metrics.EXPIRED_EVENTS, retention_days, now_millis, pace, goes_on_at
    )


async def expire_audit(
    connection: asyncpg.Connection, *, retention_days: int, now_millis: int, pace: Pace, place: Place | None = None
) -> int:
    """Deletes entries of the audit log noted more than so many days ago; as `_expire`."""
    goes_on_at = {} if place is None else place
    counter = metrics.EXPIRED_AUDIT_ENTRIES
    return await _expire(
        connection, "store/maintenance/audit_expiry", counter, retention_days, now_millis, pace, goes_on_at
    )


async def _expire(  # noqa: PLR0917 - the two above name them
    connection: asyncpg.Connection,
    path: str,
    counter: Counter,
    retention_days: int,
    now_millis: int,
    pace: Pace,
    place: Place,
) -> int:
    """Deletes tenant by tenant, until all is done or the pace says stop; returns how many rows.

    Args:
        connection: the owner's, in no transaction.
        path: of the file of statements, which has `tenants` and `delete_old`.
        counter: of rows deleted.
        retention_days: 0 deletes nothing.
        now_millis: ms since 1970.
        pace: of the transactions.
        place: goes on after its `tenant_id`; empty afterwards if the pass is complete.
    """
    if not retention_days:
        place.clear()
        return 0
    before = datetime.fromtimestamp(now_millis / 1000, UTC) - timedelta(days=retention_days)
    sql = statements.load(path)
    total = 0
    after = place.setdefault("tenant_id", -1)
    for row in await connection.fetch(sql["tenants"]):
        if row["tenant_id"] <= after:
            continue
        deleted = ROWS_AT_ONCE
        while deleted == ROWS_AT_ONCE:
            began_secs = clock.monotonic_secs()
            deleted = int(await connection.fetchval(sql["delete_old"], row["tenant_id"], before, ROWS_AT_ONCE))
            total += deleted
            counter.inc(deleted)
            if deleted < ROWS_AT_ONCE:
                place["tenant_id"] = row["tenant_id"]
            if not await pace(clock.monotonic_secs() - began_secs):
                return total
    place.clear()
    return total
