"""What became of commits whose answer was lost, for the live table: the database is asked.

A connection may break between COMMIT and its answer. The group is tried again then, finds its own fixes there, and says
`duplicate`: nothing is new, so nothing moves here. Whoever tried names the devices, and their positions are read again.

    look_again -> devices (each once) --database is there, nobody moves the device--> live.correct
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import asyncpg

from fleetwire.live.state import Live
from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import SupervisedTask, supervise

DEVICES_AT_ONCE: Final = 1000
RETRY_SECS: Final = 0.5

_SQL = statements.load("live/live")


class InDoubtCommits:
    """The devices in doubt, by tenant. `moved` is called when positions moved: watchers need not wait for a tick."""

    def __init__(self, live: Live, pool: asyncpg.Pool, *, moved: Callable[[], None]) -> None:
        self._live = live
        self._pool = pool
        self._moved = moved
        self._devices: dict[int, set[int]] = {}
        self._arrived = asyncio.Event()
        self._settling: SupervisedTask | None = None

    def start(self) -> None:
        """From now on doubts are settled."""
        self._settling = supervise(self._settle_next, name="live-doubts")

    async def stop(self) -> None:
        """Ends it; the next start reads everything."""
        await supervisor.stop(self._settling)

    def look_again(self, devices: Iterable[tuple[int, int]]) -> None:
        """A transaction with these (tenant, device) may have been committed or not. Returns at once and cannot fail.

        May be called while that transaction still runs somewhere: its devices are read when it has ended.
        """
        for tenant_id, device_id in devices:
            self._devices.setdefault(tenant_id, set()).add(device_id)
        self._arrived.set()

    def clear(self) -> None:
        """Drops all devices: their numbers mean nothing in another database."""
        self._devices.clear()

    def __len__(self) -> int:
        """Devices in doubt."""
        return sum(map(len, self._devices.values()))

    async def _settle_next(self) -> None:
        await self._arrived.wait()
        self._arrived.clear()
        await self._settle()
        if self._devices:
            # Somebody moves these devices just now.
            await asyncio.sleep(RETRY_SECS)

    async def _settle(self) -> None:
        for tenant_id, device_ids in list(self._devices.items()):
            waiting = sorted(device_ids)
            for start in range(0, len(waiting), DEVICES_AT_ONCE):
                await self._look(tenant_id, waiting[start : start + DEVICES_AT_ONCE])

    async def _look(self, tenant_id: int, device_ids: list[int]) -> None:
        # Taken out first: a doubt that comes up while this is read needs a look of its own.
        self._forget(tenant_id, device_ids)
        again = device_ids
        try:
            async with acquire(self._pool) as connection, connection.transaction():
                settled = {row["device_id"] for row in await connection.fetch(_SQL["settled"], tenant_id, device_ids)}
                rows = await connection.fetch(_SQL["positions_of"], tenant_id, device_ids)
            again = [row["device_id"] for row in rows if row["device_id"] not in settled]
        finally:
            self.look_again((tenant_id, device_id) for device_id in again)
        if self._live.correct(tenant_id, rows):
            self._moved()

    def _forget(self, tenant_id: int, device_ids: Iterable[int]) -> None:
        left = self._devices.get(tenant_id, set())
        left.difference_update(device_ids)
        if not left:
            self._devices.pop(tenant_id, None)
