"""How long each tenant keeps its fixes, known without a query per batch."""

import asyncio
from collections.abc import Callable

import asyncpg

from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise

_SQL = statements.load("store/maintenance/expiry")

FRESH_SECS = 60.0  # a change of a tenant's retention is heeded after this at the latest
DAY_MILLIS = 86_400_000


class Retention:
    """Keeps what the tenants say beside the server's setting; reads it again in the background.

    While the database is away, what was known last stays true. A fix has expired when it has by the server's clock and
    by the database's: what a clock that runs ahead refused would be lost, because its sender does not send it again.
    """

    def __init__(
        self, pool: asyncpg.Pool, *, default_days: int, on_changed: Callable[[], object] = lambda: None
    ) -> None:
        """`on_changed` is called when fixes that were deleted may be accepted again."""
        self._on_changed = on_changed
        self._pool = pool
        self._default_days = default_days
        self._own_days: dict[int, int] = {}
        self._database_start_millis = 0
        """The database's time when this process's monotonic clock was at 0: that one never jumps."""
        self._reading: SupervisedTask | None = None

    async def load(self) -> None:
        """Reads what the tenants say."""
        async with acquire(self._pool) as connection:
            own_days = dict(await connection.fetch(_SQL["own_retentions"]))
            # In this order: the way of the answer makes it early rather than late.
            self._database_start_millis = await connection.fetchval(_SQL["database_millis"]) - _monotonic_millis()
        before, self._own_days = self._own_days, own_days
        if own_days != before:
            self._on_changed()

    def start(self) -> None:
        """Reads it again and again in the background."""
        self._reading = supervise(self._load_later, name="retention", unready_after_secs=NEVER_UNREADY)

    async def stop(self) -> None:
        """Ends the reading in the background."""
        await supervisor.stop(self._reading)

    def earliest_millis(self, tenant_id: int, now_millis: int) -> int:
        """The time, in milliseconds since 1970, before which this tenant's fixes have expired; 0 if they never do."""
        days = self._own_days.get(tenant_id, self._default_days)
        if not days:
            return 0
        database_millis = self._database_start_millis + _monotonic_millis()
        return min(now_millis, database_millis) - days * DAY_MILLIS

    async def _load_later(self) -> None:
        await asyncio.sleep(FRESH_SECS)
        await self.load()


def _monotonic_millis() -> int:
    return round(clock.monotonic_secs() * 1000)
