"""When a credential was last used: written a few seconds later, in batches, never while a request waits."""

import asyncio
from typing import Any, Final

import structlog

from fleetwire import metrics
from fleetwire.runtime import tasks
from fleetwire.store.faults import PASSING
from fleetwire.store.pool import tenant_transaction
from fleetwire.store.statements import load

WRITE_EVERY_SECS: Final = 5.0
# More distinct credentials in `WRITE_EVERY_SECS` are not noted: the figure is a hint for people.
MAX_PENDING: Final = 10_000

_sql = load("access")
_log = structlog.get_logger(__name__)


class Uses:
    """Notes uses. The statement itself skips what was written less than a minute ago, by whichever worker."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        self._pool = pool
        self._pending: set[tuple[int, int]] = set()
        self._task: asyncio.Task[None] | None = None

    def note(self, tenant_id: int, credential_id: int) -> None:
        """The credential was looked up just now."""
        if len(self._pending) >= MAX_PENDING:
            metrics.USES_DROPPED.inc()
            return
        self._pending.add((tenant_id, credential_id))

    def start(self) -> None:
        """Starts writing behind."""
        self._task = tasks.spawn(self._run(), name="credential-uses")

    async def stop(self) -> None:
        """Writes what is pending and ends."""
        await tasks.cancel(self._task)
        await self.write()

    async def write(self) -> None:
        """Writes what is pending; a failure loses these notes and is logged."""
        by_tenant: dict[int, list[int]] = {}
        for tenant_id, credential_id in self._pending:
            by_tenant.setdefault(tenant_id, []).append(credential_id)
        self._pending.clear()
        for tenant_id, credential_ids in by_tenant.items():
            try:
                async with tenant_transaction(self._pool, tenant_id) as connection:
                    await connection.execute(_sql["note_uses"], tenant_id, credential_ids)
            except PASSING as error:
                metrics.USES_DROPPED.inc(len(credential_ids))
                _log.warning("The last use of credentials is not noted.", count=len(credential_ids), error=str(error))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_SECS)
            await self.write()
