"""Statements that took long: logged with their name and, where it can be had, the plan that the server would take.

The parameters are never logged: among them are hashes and positions. So the plan is the generic one, asked for on a
connection of the same pool, for one statement at a time and for each once a minute at the most.
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any

import asyncpg
import structlog

from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime import clock
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.telemetry import metrics

EXPLAIN_EVERY_SECS = 60.0  # per statement
PLAN_LINES = 12  # the rest of a plan that is longer says little about why it is slow

_log = structlog.get_logger(__name__)


@cache
def _names() -> Mapping[str, str]:
    """Returns `file.name` by the statement's text."""
    return {
        statement.sql: f"{path.rpartition('/')[2]}.{name}"
        for path in statements.paths()
        for name, statement in statements.describe(path).items()
    }


def name_of(sql: str) -> str:
    """What a statement is called: `file.name`; one that is in no file, such as COMMIT, by its first word."""
    return _names().get(sql) or sql.split(maxsplit=1)[0].rstrip(";").upper()


class SlowQueries:
    """Looks at the finished statements of one pool. `pool` is set once it is open."""

    def __init__(self, pool_name: str, *, over_secs: float) -> None:
        self._pool_name = pool_name
        self._over_secs = over_secs
        self._explained_at_secs: dict[str, float] = {}
        self._explaining: asyncio.Task[None] | None = None
        self.pool: asyncpg.Pool | None = None
        self.slow = 0

    def look(self, query: Any) -> None:  # noqa: ANN401 - asyncpg's LoggedQuery
        """Takes one finished statement."""
        if query.elapsed <= self._over_secs:
            return
        self.slow += 1
        metrics.SLOW_QUERIES.inc()
        name = _names().get(query.query)
        _log.warning(
            "A statement was slow.",
            pool=self._pool_name,
            # One that has no name is put together from names of the catalogue, and holds no value either.
            statement=name or query.query[:200],
            millis=round(query.elapsed * 1000),
            failed=query.exception is not None,
        )
        if name is not None:
            self._explain_behind(name, query.query)

    async def stop(self) -> None:
        """Ends what is being explained."""
        await cancel(self._explaining)

    def _explain_behind(self, name: str, sql: str) -> None:
        now_secs = clock.monotonic_secs()
        is_busy = self._explaining is not None and not self._explaining.done()
        if is_busy or now_secs < self._explained_at_secs.get(name, 0.0):
            return
        self._explained_at_secs[name] = now_secs + EXPLAIN_EVERY_SECS
        self._explaining = spawn(self._explain(name, sql), name="explain")

    async def _explain(self, name: str, sql: str) -> None:
        if self.pool is None:
            return
        try:
            plan = await generic_plan(self.pool, sql)
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            _log.info("The plan of a slow statement is not known.", statement=name, error=repr(error))
            return
        _log.warning("The plan of a slow statement.", statement=name, plan=plan)


async def generic_plan(pool: asyncpg.Pool, sql: str) -> list[str]:
    """The lines of the plan that the server takes whatever the parameters are; the statement is not run."""
    async with acquire(pool) as connection, connection.transaction(readonly=True):
        parameters = len((await connection.prepare(sql)).get_parameters())
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        # Not prepared by the driver: a prepared statement of it has a name that EXPLAIN cannot be told.
        await connection.execute(f"PREPARE fleetwire_slow AS {sql}")
        try:
            values = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
            rows = await connection.fetch(f"EXPLAIN EXECUTE fleetwire_slow{values}")
        finally:
            await connection.execute("DEALLOCATE fleetwire_slow")
    return [row[0] for row in rows[:PLAN_LINES]]
