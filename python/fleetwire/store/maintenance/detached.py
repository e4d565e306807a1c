"""Undoes the removal of partitions that was interrupted half way and is not wanted any more.

`DETACH PARTITION CONCURRENTLY` hides the partition's rows at once and then waits for those who still use them. When it
is interrupted there, the partition stays half detached: its days are invisible, and take no rows. What has expired is
dropped by `fix_expiry.py`; what has not, because a retention was raised meanwhile, is attached again here. Every round
of the upkeep does both.
"""

from datetime import datetime

import asyncpg
import structlog

from fleetwire.postgres import statements
from fleetwire.store.partitions import span_of
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("store/maintenance/detached")


async def attach_unexpired(connection: asyncpg.Connection, *, expired_before: datetime | None) -> None:
    """Attaches what can be; what is in use is left for the next round. `expired_before`: None if nothing expires."""
    left = 0
    for name, is_pending in await connection.fetch(_SQL["unsettled"]):
        _, end = span_of(name)
        if expired_before is not None and end <= expired_before:
            continue
        if is_pending and await is_in_use(connection, name):
            left += 1
            _log.warning("A half detached partition is still in use.", partition=name)
            continue
        try:
            await _attach(connection, name, is_pending=is_pending)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
            left += 1
            _log.warning("A half detached partition is still in use.", partition=name, error=str(error))
        except asyncpg.PostgresError:
            left += 1
            _log.exception("A detached partition cannot be attached again.", partition=name)
        else:
            _log.info("A removal that was interrupted is undone.", partition=name)
    metrics.DETACHED_PARTITIONS.set(left)


async def is_in_use(connection: asyncpg.Connection, partition: str) -> bool:
    """Whether detaching this partition would have to wait, and might be interrupted half way."""
    return bool(await connection.fetchval(_SQL["is_in_use"], _parent(partition)))


async def _attach(connection: asyncpg.Connection, name: str, *, is_pending: bool) -> None:
    """In one short transaction, so that the days have their partition again, or all is as it was."""
    parent = _parent(name)
    start, end = (each.isoformat(sep=" ") for each in span_of(name))
    # What was erased meanwhile stays erased. This goes through the whole table, and so before the locks under which
    # others make partitions; nobody erases beside the upkeep. S608: span_of() knows the name.
    await connection.execute(
        f"DELETE FROM ONLY {name} AS t WHERE NOT EXISTS "  # noqa: S608
        "(SELECT FROM device AS d WHERE d.tenant_id = t.tenant_id AND d.device_id = t.device_id)"
    )
    async with connection.transaction():
        await connection.execute(_SQL["be_quick"])
        if is_pending:
            await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE")
        await connection.execute(
            f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')"
        )


def _parent(name: str) -> str:
    return name.rpartition("_")[0]
