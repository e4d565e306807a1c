"""The connection that a committer keeps from group to group.

Giving it back to the pool after each group would cost a round trip to reset it, which is a fifth of a small group.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from fleetwire._core import RowTypes
from fleetwire.postgres.row_arrays import accept_row_arrays

# A nested loop over the primary key is the only good plan for a group, whatever the planner knows of the table: plans
# made while it was small read all of live_position for each group (5 ms at 10,000 devices) until it is next analysed.
PLANNER = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "plan_cache_mode": "force_generic_plan",
}


class PinnedConnection:
    """One connection of a pool for one task; replaced after any failure on it, and `replaced` is called then."""

    def __init__(self, pool: asyncpg.Pool, *, replaced: Callable[[], object]) -> None:
        self._pool = pool
        self._replaced = replaced
        self._kept: tuple[asyncpg.Connection, RowTypes] | None = None

    @asynccontextmanager
    async def connection(self, *, limit_secs: float) -> AsyncIterator[tuple[asyncpg.Connection, RowTypes]]:
        """The connection, for at most `limit_secs`; then it is cut, and what waits on it fails at once.

        Raises:
            TimeoutError: no connection could be had in time.
        """
        connection, row_types = self._kept or await self._open(limit_secs)
        # By a cut, not by cancelling: the driver would wait for a frozen server to confirm the cancellation.
        watchdog = asyncio.get_running_loop().call_later(limit_secs, connection.terminate)
        try:
            yield connection, row_types
        except BaseException:
            await self.give_back(within_secs=limit_secs)
            raise
        finally:
            watchdog.cancel()

    async def give_back(self, *, within_secs: float = 1.0) -> None:
        """Returns the connection to the pool, which resets or drops it."""
        if self._kept is not None:
            (connection, _), self._kept = self._kept, None
            await self._pool.release(connection, timeout=within_secs)

    async def _open(self, limit_secs: float) -> tuple[asyncpg.Connection, RowTypes]:
        connection = await self._pool.acquire(timeout=limit_secs)
        self._replaced()
        try:
            async with asyncio.timeout(limit_secs):
                row_types = await accept_row_arrays(connection)
        except BaseException:
            connection.terminate()
            await self._pool.release(connection, timeout=limit_secs)
            raise
        self._kept = connection, row_types
        return self._kept
