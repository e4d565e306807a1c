"""When a credential was last used: written a few seconds later, in batches, never while a request waits."""

import asyncio
from typing import Any, Final

import structlog

from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.statements import load
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise
from fleetwire.telemetry import metrics

WRITE_EVERY_SECS: Final = 5.0
# More distinct credentials in `WRITE_EVERY_SECS` are not noted: the figure is a hint for people.
MAX_PENDING: Final = 10_000

_sql = load("access/access")
_log = structlog.get_logger(__name__)


class LastUsedRecorder:
    """Notes uses. The statement itself skips what was written less than a minute ago, by whichever worker."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        self._pool = pool
        self._pending: dict[int, set[int]] = {}  # by tenant
        self._pending_count = 0
        self._task: SupervisedTask | None = None

    def note(self, tenant_id: int, credential_id: int) -> None:
        """The credential was looked up just now."""
        of_tenant = self._pending.setdefault(tenant_id, set())
        if credential_id in of_tenant:
            return
        if self._pending_count >= MAX_PENDING:
            metrics.USES_DROPPED.inc()
            return
        of_tenant.add(credential_id)
        self._pending_count += 1

    def start(self) -> None:
        """Starts writing behind."""
        self._task = supervise(self._write_later, name="credential-uses", unready_after_secs=NEVER_UNREADY)

    async def stop(self) -> None:
        """Writes what is pending and ends."""
        await supervisor.stop(self._task)
        try:
            await self.write()
        except Exception as error:  # noqa: BLE001 - nobody is left to try it again
            metrics.USES_DROPPED.inc(self._pending_count)
            _log.warning("The last use of credentials is not noted.", count=self._pending_count, error=repr(error))

    async def write(self) -> None:
        """Writes what is pending; what cannot be written stays pending."""
        for _ in range(len(self._pending)):
            tenant_id = next(iter(self._pending))
            credential_ids = self._pending.pop(tenant_id)
            try:
                async with tenant_transaction(self._pool, tenant_id) as connection:
                    await connection.execute(_sql["note_uses"], tenant_id, list(credential_ids))
            except BaseException:
                # At the end: a tenant whose uses cannot be written does not keep the others from theirs.
                self._pending.setdefault(tenant_id, set()).update(credential_ids)
                self._recount()
                raise
        self._recount()

    def _recount(self) -> None:
        self._pending_count = sum(map(len, self._pending.values()))

    async def _write_later(self) -> None:
        await asyncio.sleep(WRITE_EVERY_SECS)
        await self.write()
