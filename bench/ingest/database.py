"""Counts stored fixes and bytes in the database, independently of the receipts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_compression",
    "shared_buffers",
    "max_wal_size",
)
BENCH_DATABASE = "bench"


class Database:
    """Connection of the owner to one database."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def stored_fixes(self) -> int:
        """Counts the durable fixes of the history."""
        return int(
            await self.connection.fetchval(
                "SELECT (SELECT coalesce(sum(fix_count), 0) FROM track_segment) + "
                "(SELECT coalesce(sum(fix_count), 0) FROM track_merged)"
            )
        )

    async def stored_rows(self) -> int:
        """Counts the durable rows of the rival."""
        return int(await self.connection.fetchval("SELECT count(*) FROM fix"))

    async def bytes_per_fix(self) -> float:
        """Returns the size of all partitions with indexes and TOAST, per fix."""
        size = await self.connection.fetchval(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
            "WHERE inhparent IN ('track_segment'::regclass, 'track_merged'::regclass)"
        )
        return float(size) / await self.stored_fixes()

    async def vacuum(self) -> None:
        """Frees the pages of merged rows, as autovacuum does within a minute."""
        await self.connection.execute("VACUUM track_segment, track_merged")

    async def clear(self, table: str) -> None:
        """Truncates tables and makes a checkpoint, so that every measurement starts alike."""
        await self.connection.execute(f"TRUNCATE {table}")
        await self.connection.execute("CHECKPOINT")

    async def settings(self) -> dict[str, Any]:
        """Returns the settings that durability and speed depend on."""
        return {name: await self.connection.fetchval("SELECT current_setting($1)", name) for name in _SETTINGS}


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator[Database]:
    """Connects to the database of a DSN."""
    connection = await asyncpg.connect(dsn, command_timeout=300)
    try:
        yield Database(connection)
    finally:
        await connection.close()


async def bench_dsn(dsn: str) -> str:
    """Creates a second database on the same server for the comparisons, if missing, and returns its DSN."""
    async with connect(dsn) as owner:
        exists = "SELECT count(*) FROM pg_database WHERE datname = $1"
        if not await owner.connection.fetchval(exists, BENCH_DATABASE):
            await owner.connection.execute(f"CREATE DATABASE {BENCH_DATABASE}")
    return dsn.replace("/fleetwire?", f"/{BENCH_DATABASE}?")
