"""The live positions of this worker: loaded at start, moved after every commit, read by feeds and `GET /api/live`."""

import secrets

import asyncpg

from fleetwire import metrics
from fleetwire._core import Departures, LiveTable, Sealed, apply_moved, catch_up
from fleetwire.store import statements
from fleetwire.store.pool import borrowed

_SQL = statements.load("live")
CATCH_UP_ROWS = 1000  # at a time; between two of them the event loop does other things


class Live:
    """The core's live table with an epoch: sequence numbers of another epoch mean nothing here.

    With `relayed`, it also keeps what other workers have to be told of.
    """

    def __init__(self, *, relayed: bool = False) -> None:
        self._table = LiveTable()
        self._departures = Departures() if relayed else None
        self.epoch = secrets.token_hex(8)

    async def warm(self, pool: asyncpg.Pool) -> None:
        """Loads every device and its stored position."""
        async with pool.acquire() as connection, connection.transaction():
            async for row in connection.cursor(_SQL["load_live"], prefetch=1000):
                self._table.load(*row)

    async def catch_up(self, pool: asyncpg.Pool, *, since_millis: int) -> int:
        """Moves forward by what was stored since then; how many positions that were.

        Raises:
            any of PASSING: the database is away.
        """
        moved = 0
        async with borrowed(pool) as connection, connection.transaction():
            cursor = await connection.cursor(_SQL["load_live_since"], since_millis)
            while rows := await cursor.fetch(CATCH_UP_ROWS):
                moved += catch_up(self._table, [tuple(row) for row in rows])
        metrics.POSITIONS_MOVED.inc(moved)
        return moved

    def renew(self) -> None:
        """Begins a new epoch: watchers may have missed something and start again from a snapshot."""
        self.epoch = secrets.token_hex(8)

    def departed(self) -> list[tuple[int, bytes]]:
        """What moved by this worker's commits since the last call: (tenant_id, packed message)."""
        return [] if self._departures is None else self._departures.take()

    def arrive(self, tenant_id: int, message: bytes) -> int:
        """Moves positions by what another worker packed; how many.

        Raises:
            ValueError: the message cannot be read.
        """
        moved = apply_moved(self._table, tenant_id, message)
        metrics.POSITIONS_MOVED.inc(moved)
        return moved

    def meet(self, tenant_id: int, device_id: int, name: str) -> None:
        """Makes a device known that has no position yet."""
        if self._departures is not None:
            self._departures.meet(tenant_id, device_id, name)
        self._table.load(tenant_id, device_id, name, None, None, None, None, None, None, None, None)

    def advance(self, sealed: Sealed) -> None:
        """Moves positions forward after a commit; a late fix moves nothing."""
        if self._departures is not None:
            self._departures.record(sealed)
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
