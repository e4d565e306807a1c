"""Forgets tenants that were erased while this worker runs, and devices that were removed.

Both notify at their commit. A notification may be lost while the listening connection is away, so after each connection
the tenants that are in memory are looked up in the database, with the count of removals of each.

A removed device's name is forgotten at once, and what else is in memory of its tenant is read again a moment later:
until then another worker's message about the device may be on its way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog

from fleetwire.postgres import statements
from fleetwire.postgres.incarnation import Incarnation
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pool import acquire
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.store.tenant_erasure import DEVICES, ERASED_CHANNEL

SETTLE_SECS: Final = 1.0
COMPARE_SECS: Final = 30.0  # for what tells whether the database is another one

_SQL = statements.load("store/tenant")
_log = structlog.get_logger(__name__)


class TenantErasureListener:
    """Calls `erased` with the number of a tenant that is no more; perhaps more than once.

    Args:
        listener: not started yet.
        pool: connections that see every tenant.
        known: the tenants in memory.
        erased: forgets one.
        outdated: forgets the names of a tenant's devices.
        reload: reads a tenant's devices again.
    """

    def __init__(
        self,
        listener: Listener,
        pool: asyncpg.Pool,
        *,
        known: Callable[[], list[int]],
        erased: Callable[[int], None],
        outdated: Callable[[int], None],
        reload: Callable[[int], Awaitable[None]],
        incarnation: Incarnation | None = None,
    ) -> None:
        self._outdated = outdated
        self._reload = reload
        self._removals: dict[int, int] = {}
        self._unread: set[int] = set()
        self._pool = pool
        self._incarnation = incarnation or Incarnation()
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
        elif payload.startswith(DEVICES) and payload.removeprefix(DEVICES).isdecimal():
            self._note_removal(int(payload.removeprefix(DEVICES)))
            self._unsure.set()
        else:
            self._unsure.set()

    def _note_removal(self, tenant_id: int) -> None:
        self._outdated(tenant_id)
        self._unread.add(tenant_id)

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
        # In another database these numbers may be given again.
        await self._incarnation.settled(timeout_secs=COMPARE_SECS)
        generation, known = self._incarnation.generation, self._known()
        async with acquire(self._pool) as connection:
            existing = dict(await connection.fetch(_SQL["existing"], known))
        if generation != self._incarnation.generation or not self._incarnation.is_settled:
            self._unsure.set()
            return
        for tenant_id in known:
            if tenant_id not in existing:
                self._forget(tenant_id)
            elif self._removals.get(tenant_id, existing[tenant_id]) != existing[tenant_id]:
                self._note_removal(tenant_id)
        self._removals = existing
        if self._unread:
            await asyncio.sleep(SETTLE_SECS)
        while self._unread:
            tenant_id = min(self._unread)
            self._unread.discard(tenant_id)
            try:
                await self._reload(tenant_id)
            except BaseException:
                self._unread.add(tenant_id)
                raise
