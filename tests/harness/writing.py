"""The writer without a server: batches straight into a database, receipts as counts."""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from fleetwire._core import Decoder, Group
from fleetwire.postgres.pool import open_pool
from fleetwire.settings import Settings
from fleetwire.store.partitions import Partitions
from fleetwire.store.writer import Writer

from .fixes import fix, now_millis

_DECODER = Decoder(max_fixes=10_000, future_millis=600_000)


class Writing:
    """Stores fixes of one tenant's devices by their numbers."""

    def __init__(self, writer: Writer, tenant_id: int) -> None:
        self._writer = writer
        self._tenant_id = tenant_id

    async def store(self, device_id: int, fixes: Sequence[dict[str, Any]]) -> tuple[int, int]:
        """Stores one batch; (stored, duplicate) of its receipt."""
        batch = _DECODER.json(json.dumps({"fixes": fixes}).encode(), now_millis=now_millis(), earliest_millis=0)
        assert batch.accepted == len(fixes)
        receipt = json.loads(await self._writer.write(self._tenant_id, device_id, batch))
        return receipt["stored"], receipt["duplicate"]

    def forget(self) -> None:
        """Forgets the last batches, as at a new connection."""
        self._writer._recent.forget()

    async def store_in_batches(self, device_id: int, fixes: Sequence[dict[str, Any]], size: int) -> None:
        """Stores fixes in batches one after the other."""
        for start in range(0, len(fixes), size):
            await self.store(device_id, fixes[start : start + size])


def _nothing_known(group: Group) -> list[int | None]:
    """As a worker that has just begun: every commit begins by looking."""
    tenant_ids, _ = group.devices()
    return [None] * (tenant_ids.count(",") + 1)


@asynccontextmanager
async def writing(dsn: str, tenant_id: int) -> AsyncIterator[Writing]:
    """A writer of its own for the time of a block."""
    pool = await open_pool(dsn, "fleetwire_ingest", max_size=4)
    writer = Writer(
        pool, partitions=Partitions(pool), settings=Settings(), known_millis=_nothing_known, on_stored=lambda _: None
    )
    await writer.start()
    try:
        yield Writing(writer, tenant_id)
    finally:
        await writer.stop(within_secs=5)
        pool.terminate()


def at(times: Iterable[int]) -> list[dict[str, Any]]:
    """Fixes of these times, each at a place that follows from its time, some with every member."""
    return [
        fix(
            millis,
            latitude=round(millis % 1_000_003 / 1e5 + 40, 7),
            longitude=round(millis % 700_001 / 1e4 - 35, 7),
            **({"altitude": millis % 997 / 10, "speed": millis % 31, "heading": millis % 359} if millis % 3 else {}),
        )
        for millis in times
    ]


async def fixes_of(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """Every stored fix with all that was measured, in order; `received_at` is the store's own."""
    return [
        tuple(row)
        for row in await connection.fetch(
            "SELECT tenant, device, fixed_at, latitude, longitude, accuracy, altitude, heading, speed, battery "
            "FROM fix ORDER BY tenant, device, fixed_at"
        )
    ]
