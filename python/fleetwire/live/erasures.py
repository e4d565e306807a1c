"""Tenants that were erased while this worker runs: it is told, and forgets what it has of them in memory.

Erasing notifies at the commit that deletes the tenant's row. A notification may be lost while the listening connection
is away, so after each connection the tenants that are in memory are looked up in the database.
"""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.store import statements
from fleetwire.store.erasure import ERASED_CHANNEL
from fleetwire.store.listener import Listener
from fleetwire.store.pool import borrowed

_SQL = statements.load("tenant")
_log = structlog.get_logger(__name__)


class Erasures:
    """Calls `erased` with the number of a tenant that is no more; perhaps more than once.

    Args:
        listener: not started yet.
        pool: connections that see every tenant.
        known: the tenants in memory.
        erased: forgets one.
    """

    def __init__(
        self, listener: Listener, pool: asyncpg.Pool, *, known: Callable[[], list[int]], erased: Callable[[int], None]
    ) -> None:
        self._pool = pool
        self._known = known
        self._erased = erased
        self._unsure = asyncio.Event()
        self._looking: SupervisedTask | None = None
        listener.on(ERASED_CHANNEL, heard=self._heard, connected=self._unsure.set)

    def start(self) -> None:
        """From now on tenants are looked up when something may have gone unheard."""
        self._looking = supervise(self._look_when_unsure, name="erasures")

    async def stop(self) -> None:
        """Ends it."""
        await supervisor.stop(self._looking)

    def _heard(self, payload: str) -> None:
        if payload.isdecimal():
            self._forget(int(payload))
        else:
            self._unsure.set()

    def _forget(self, tenant_id: int) -> None:
        _log.info("A tenant was erased.", tenant_id=tenant_id)
        self._erased(tenant_id)

    async def _look_when_unsure(self) -> None:
        await self._unsure.wait()
        self._unsure.clear()
        try:
            await self._look()
        except BaseException:
            self._unsure.set()
            raise

    async def _look(self) -> None:
        known = self._known()
        async with borrowed(self._pool) as connection:
            existing = {row["tenant_id"] for row in await connection.fetch(_SQL["existing"], known)}
        for tenant_id in known:
            if tenant_id not in existing:
                self._forget(tenant_id)
