"""How long each tenant keeps its fixes, known without a query per batch."""

import asyncio

import asyncpg
import structlog

from fleetwire import clock
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.store import statements
from fleetwire.store.faults import PASSING
from fleetwire.store.pool import borrowed

_log = structlog.get_logger(__name__)
_SQL = statements.load("expiry")

FRESH_SECS = 60.0  # a change of a tenant's retention is heeded after this at the latest
DAY_MILLIS = 86_400_000


class Retention:
    """Keeps what the tenants say beside the server's setting; reads it again in the background when it has aged.

    While the database is away, what was known last stays true. A fix has expired when it has by the server's clock and
    by the database's: what a clock that runs ahead refused would be lost, because its sender does not send it again.
    """

    def __init__(self, pool: asyncpg.Pool, *, default_days: int) -> None:
        self._pool = pool
        self._default_days = default_days
        self._own_days: dict[int, int] = {}
        self._stale_at_secs = 0.0
        self._database_start_millis = 0
        """The database's time when this process's monotonic clock was at 0: that one never jumps."""
        self._reading: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Reads what the tenants say."""
        self._stale_at_secs = clock.monotonic_secs() + FRESH_SECS
        async with borrowed(self._pool) as connection:
            self._own_days = dict(await connection.fetch(_SQL["own_retentions"]))
            # In this order: the way of the answer makes it early rather than late.
            self._database_start_millis = await connection.fetchval(_SQL["database_millis"]) - _monotonic_millis()

    async def stop(self) -> None:
        """Ends the reading in the background."""
        await cancel(self._reading)

    def earliest_millis(self, tenant_id: int, now_millis: int) -> int:
        """The time, in milliseconds since 1970, before which this tenant's fixes have expired; 0 if they never do."""
        if clock.monotonic_secs() >= self._stale_at_secs:
            self._stale_at_secs = clock.monotonic_secs() + FRESH_SECS
            self._reading = spawn(self._load_again(), name="retention")
        days = self._own_days.get(tenant_id, self._default_days)
        if not days:
            return 0
        database_millis = self._database_start_millis + _monotonic_millis()
        return min(now_millis, database_millis) - days * DAY_MILLIS

    async def _load_again(self) -> None:
        try:
            await self.load()
        except PASSING as error:
            _log.warning("The tenants' retention could not be read.", error=repr(error))


def _monotonic_millis() -> int:
    return round(clock.monotonic_secs() * 1000)
