"""Deletes rows of what has ended long ago: logins, tokens, and devices of orders that nobody ended."""

from typing import Final

import asyncpg

from fleetwire.fleet.orders import store
from fleetwire.postgres import statements
from fleetwire.runtime import clock
from fleetwire.store.maintenance.job import Pace
from fleetwire.telemetry import metrics

_SQL = statements.load("store/maintenance/upkeep")
_ORDER_SQL = statements.load("fleet/orders/order")

CREDENTIAL_DAYS: Final = 30
"""How long a token that expired or was revoked is listed, and whoever uses it is told what ended it."""
ROWS_AT_ONCE = 2_000


async def delete_sessions(connection: asyncpg.Connection) -> int:
    """Deletes rows of logins that ended an hour ago; returns how many."""
    deleted = int((await connection.execute(_SQL["delete_ended_sessions"])).removeprefix("DELETE "))
    metrics.ENDED_SESSIONS.inc(deleted)
    return deleted


async def delete_credentials(connection: asyncpg.Connection, *, pace: Pace) -> tuple[int, bool]:
    """Deletes tokens that ended `CREDENTIAL_DAYS` ago; returns how many, and whether none is left."""
    total, deleted = 0, ROWS_AT_ONCE
    while deleted == ROWS_AT_ONCE:
        began_secs = clock.monotonic_secs()
        done: str = await connection.execute(_SQL["delete_ended_credentials"], CREDENTIAL_DAYS, ROWS_AT_ONCE)
        deleted = int(done.removeprefix("DELETE "))
        total += deleted
        metrics.ENDED_CREDENTIALS.inc(deleted)
        if not await pace(clock.monotonic_secs() - began_secs):
            return total, deleted < ROWS_AT_ONCE
    return total, True


async def delete_order_devices(connection: asyncpg.Connection, *, days: int, pace: Pace) -> tuple[int, bool]:
    """Ends orders that nobody changed for `days`, and notifies the workers; 0 ends none.

    Returns how many, and whether none is left.
    """
    total, deleted = 0, ROWS_AT_ONCE if days else 0
    while deleted == ROWS_AT_ONCE:
        began_secs = clock.monotonic_secs()
        async with connection.transaction():
            rows = await connection.fetch(_SQL["delete_idle_order_devices"], days, ROWS_AT_ONCE)
            notes = [(store.CHANNEL, f"{row['tenant_id']} {row['order_name']}") for row in rows]
            await connection.executemany(_ORDER_SQL["notify"], notes)
        deleted = sum(row["devices"] for row in rows)
        total += deleted
        metrics.IDLE_ORDER_DEVICES.inc(deleted)
        if not await pace(clock.monotonic_secs() - began_secs):
            return total, deleted < ROWS_AT_ONCE
    return total, True
