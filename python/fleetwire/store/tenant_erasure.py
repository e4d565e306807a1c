"""A tenant erased: everything with its number, in bounded steps, so that others are not held up.

First nobody of the tenant is let in any more, and every worker hears of it. Then its rows go, the referring tables
before those referred to. What was being committed meanwhile is found by going round again until nothing is left.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Final

import asyncpg

from fleetwire.access.identity.authenticator import REVOKED_CHANNEL
from fleetwire.postgres import statements
from fleetwire.store.partitions import on_partition
from fleetwire.store.tenants import find_tenant, quoted

_SQL = statements.load("store/tenant")
_ACCESS_SQL = statements.load("access/access")
_EXPIRY_SQL = statements.load("store/maintenance/expiry")

ERASED_CHANNEL: Final = "fleetwire_erased"
DEVICES: Final = "devices "
"""Before a tenant's number: devices of it were removed, and it is still there."""
ROWS_AT_ONCE = 2_000
ROUNDS = 5  # a batch in flight can make one more necessary; more than a few would mean that somebody keeps writing
_EVER = datetime(9999, 12, 31, tzinfo=UTC)


async def erase(connection: asyncpg.Connection, name: str) -> dict[str, int]:
    """Deletes a tenant and everything that belongs to it. Returns the rows deleted by table, and the fixes as `fix`.

    `connection` is the owner's, while nobody else merges (`upkeep.exclusive`). Running servers hear of it and forget
    what they have in memory (`live/tenant_erasure_listener.py`).

    Raises:
        Problem: 404 `tenant_unknown`.
        asyncpg.ForeignKeyViolationError: somebody keeps writing rows of the tenant; what was deleted stays deleted.
    """
    tenant_id = await find_tenant(connection, name)
    await _let_nobody_in(connection, tenant_id)
    deleted: Counter[str] = Counter()
    for attempt in range(1, ROUNDS + 1):
        await _delete_tracks(connection, tenant_id, deleted)
        for table in await _children_first(connection):
            rows = await _delete_rows(connection, tenant_id, table)
            deleted[table] += rows
        # Of batches that were being committed while their devices were deleted.
        await _delete_tracks(connection, tenant_id, deleted)
        try:
            async with connection.transaction():
                await connection.execute(_SQL["delete_tenant"], tenant_id)
                await connection.execute(_SQL["notify_erased"], ERASED_CHANNEL, str(tenant_id))
        except asyncpg.ForeignKeyViolationError:
            if attempt == ROUNDS:
                raise
        else:
            break
    return dict(deleted) | {"tenant": 1}


async def _let_nobody_in(connection: asyncpg.Connection, tenant_id: int) -> None:
    async with connection.transaction():
        await connection.execute(_SQL["suspend"], tenant_id)
        keys = [
            row["key"]
            for statement in (_SQL["revoke_credentials"], _SQL["revoke_sessions"])
            for row in await connection.fetch(statement, tenant_id)
        ]
        await connection.executemany(_ACCESS_SQL["notify_revoked"], [(REVOKED_CHANNEL, key) for key in keys])


async def _delete_tracks(connection: asyncpg.Connection, tenant_id: int, deleted: Counter[str]) -> None:
    """Deletes a tenant's segments partition by partition: a statement over all is planned over all, each time."""
    for row in await connection.fetch(_EXPIRY_SQL["partitions"]):
        statement = on_partition(_EXPIRY_SQL["delete_expired"], row["name"])
        table = row["name"].rpartition("_")[0]
        segments = ROWS_AT_ONCE
        while segments == ROWS_AT_ONCE:
            segments, fixes = await connection.fetchrow(statement, [tenant_id], [_EVER], ROWS_AT_ONCE)
            deleted.update({table: segments, "fix": fixes})
            await asyncio.sleep(0)


async def _children_first(connection: asyncpg.Connection) -> list[str]:
    """The tables with rows of tenants, each after all that refer to it."""
    waiting = {row["name"] for row in await connection.fetch(_SQL["tables"])}
    references = [tuple(row) for row in await connection.fetch(_SQL["references"])]
    ordered: list[str] = []
    while waiting:
        free = {
            table for table in waiting if not any(parent == table and child in waiting for child, parent in references)
        }
        # Tables that refer to one another in a ring are left to their ON DELETE clauses.
        ordered += sorted(free or waiting)
        waiting -= free or set(waiting)
    return ordered


async def _delete_rows(connection: asyncpg.Connection, tenant_id: int, table: str) -> int:
    statement = (
        f"DELETE FROM {quoted(table)} WHERE tenant_id = $1 AND ctid = ANY (ARRAY("  # noqa: S608 - a name of the catalogue
        f"SELECT ctid FROM {quoted(table)} WHERE tenant_id = $1 LIMIT {ROWS_AT_ONCE}))"
    )
    total = 0
    while rows := int((await connection.execute(statement, tenant_id)).removeprefix("DELETE ")):
        total += rows
        await asyncio.sleep(0)
    return total
