"""What a commit costs beside an old snapshot: `python -m bench.snapshot`.

The same devices move together, again and again, in one commit each, while a REPEATABLE READ transaction is open. A line
of JSON says after how many moves a commit took how long and how many pages of live positions and their index it read.

    python -m bench.snapshot --devices 200 --moves 2000
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec

from fleetwire.postgres import migrate, statements
from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.pinned_connection import PLANNER
from fleetwire.runtime import logs

STEPS = 10
_STORE = """
SELECT store_group(
    $1, $2, $3, ARRAY[]::track_segment[],
    ARRAY(
        SELECT (u.tenant_id, u.device_id, to_timestamp($4 / 1000.0), 481371540, 115761240, 5190, 1340, 9, 50, 8, now())
            ::moved_position
        FROM unnest($1::int[], $2::bigint[]) AS u (tenant_id, device_id)
    )
)
"""
_PAGES = """
SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read AS read, pg_table_size(relid) AS bytes
FROM pg_statio_user_tables WHERE relname = 'live_position'
"""


@dataclass(frozen=True)
class SnapshotStep:
    """A measurement."""

    snapshot: str
    moves: int
    commit_millis: float
    pages_read: int
    table_bytes: int


class MovingDevices:
    """Devices that move together."""

    def __init__(self, connection: asyncpg.Connection, tenant_id: int, device_ids: list[int]) -> None:
        self._connection = connection
        self._keys = [tenant_id] * len(device_ids), sorted(device_ids)
        self._known_millis: int | None = None

    async def measure(self, moves: int, *, snapshot: str, after: int) -> SnapshotStep:
        """Moves all devices so many times.

        Raises:
            RuntimeError: the watermarks were not those of the last move.
        """
        before = await self._pages()
        started = time.perf_counter()
        for _ in range(moves):
            known = [self._known_millis] * len(self._keys[1])
            self._known_millis = (self._known_millis or 1_763_768_400_000) + 1000
            if await self._connection.fetchval(_STORE, *self._keys, known, self._known_millis) is not None:
                raise RuntimeError("Other watermarks were stored.")
        millis = (time.perf_counter() - started) / moves * 1000
        read, size = await self._pages()
        return SnapshotStep(snapshot, after + moves, round(millis, 2), (read - before[0]) // moves, size)

    async def _pages(self) -> tuple[int, int]:
        await self._connection.execute("SELECT pg_stat_force_next_flush()")
        return tuple(await self._connection.fetchrow(_PAGES))


async def steps(dsn: str, *, devices: int, moves: int) -> AsyncIterator[SnapshotStep]:
    """Measures before, beside and after a snapshot."""
    await migrate.migrate(dsn)
    connection = await asyncpg.connect(dsn, server_settings=PLANNER)
    reader = await asyncpg.connect(dsn)
    try:
        tenant_id = await connection.fetchval("INSERT INTO tenant (name) VALUES ('bench') RETURNING tenant_id")
        names = [f"vehicle-{number}" for number in range(devices)]
        found = await connection.fetch(statements.load("store/device")["create_devices"], tenant_id, names)
        fleet = MovingDevices(connection, tenant_id, [row["device_id"] for row in found])
        step = moves // STEPS
        await fleet.measure(step, snapshot="none", after=0)
        yield await fleet.measure(step, snapshot="none", after=step)
        async with reader.transaction(isolation="repeatable_read"):
            await reader.fetchval("SELECT count(*) FROM live_position")
            for number in range(STEPS):
                yield await fleet.measure(step, snapshot="open", after=number * step)
        await connection.execute("VACUUM live_position")
        yield await fleet.measure(step, snapshot="ended", after=0)
    finally:
        await reader.close()
        await connection.close()


async def _run(dsn: str, given: argparse.Namespace) -> None:
    async for step in steps(dsn, devices=given.devices, moves=given.moves):
        print(msgspec.json.encode(step).decode(), flush=True)


def main() -> None:
    """Prints a line of JSON for each step."""
    parser = argparse.ArgumentParser(prog="python -m bench.snapshot", description="Commits beside an old snapshot.")
    parser.add_argument("--devices", type=int, default=200, help="in one commit")
    parser.add_argument("--moves", type=int, default=2_000, help="of each device while the snapshot is open")
    given = parser.parse_args()
    logs.configure(level="error", form="console")
    with (
        tempfile.TemporaryDirectory(prefix="fleetwire-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "data") as postgres,
    ):
        asyncio.run(_run(postgres.dsn, given))


if __name__ == "__main__":
    main()
