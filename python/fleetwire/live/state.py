"""The live positions of this worker: loaded at start, moved after every commit, read by feeds and `GET /api/live`."""

import secrets

import asyncpg

from fleetwire import metrics
from fleetwire._core import LiveTable, Sealed
from fleetwire.store import statements

_SQL = statements.load("live")


class Live:
    """The core's live table with an epoch: sequence numbers of another epoch mean nothing here."""

    def __init__(self) -> None:
        self._table = LiveTable()
        self.epoch = secrets.token_hex(8)

    async def warm(self, pool: asyncpg.Pool) -> None:
        """Loads every device and its stored position."""
        async with pool.acquire() as connection, connection.transaction():
            async for row in connection.cursor(_SQL["load_live"], prefetch=1000):
                self._table.load(*row)

    def meet(self, tenant_id: int, device_id: int, name: str) -> None:
        """Makes a device known that has no position yet."""
        self._table.load(tenant_id, device_id, name, None, None, None, None, None, None, None, None)

    def advance(self, sealed: Sealed) -> None:
        """Moves positions forward after a commit; a late fix moves nothing."""
        metrics.POSITIONS_MOVED.inc(self._table.advance(sealed))

    def tick(self) -> list[int]:
        """Closes a tick: the tenants with movement since the last one."""
        return self._table.tick()

    def seq(self, tenant_id: int) -> int:
        """The number of the tenant's newest tick."""
        return self._table.seq(tenant_id)

    def snapshot(self, tenant_id: int) -> bytes:
        """All positions of a tenant as a frame."""
        return self._table.snapshot(tenant_id, epoch=self.epoch)

    def moved(self, tenant_id: int, *, since_seq: int) -> bytes | None:
        """What moved after `since_seq` as a frame."""
        return self._table.moved(tenant_id, since_seq=since_seq)

    def geojson(self, tenant_id: int) -> bytes:
        """All positions of a tenant as GeoJSON."""
        return self._table.geojson(tenant_id)

    def __len__(self) -> int:
        return len(self._table)
