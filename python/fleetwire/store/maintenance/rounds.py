"""Upkeep of the store: partitions ahead, retention, rows of what has ended, merging. One process does it at a time.

A round opens a connection of the database's owner, takes an advisory lock for its session and runs each job that is due
for its slice of time (`maintenance/job.py`), with rests after each transaction. What is left over is the next round's,
which follows at once.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog

from fleetwire.errors import FleetwireError
from fleetwire.postgres import statements
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise
from fleetwire.settings import Settings
from fleetwire.store.maintenance.job import LATE_SECS, Job, at_once, load_states, run_jobs
from fleetwire.store.maintenance.jobs import Round, list_jobs
from fleetwire.store.maintenance.snapshots import SnapshotWatch
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("store/maintenance/upkeep")

MAX_ROUND_SECS = 3600.0  # a network that swallows what is sent never answers; each statement ends by itself before
QUIET_ROUNDS = 10  # what still grows is left alone; at the usual pause, ten minutes
BUSY_PAUSE_SECS = 1.0  # before the next round, if a job has not come to its end
TAKE_TURNS_SECS = 60.0  # how long a command waits for the server's round


class Maintenance:
    """The server's rounds, in the background."""

    def __init__(self, dsn: str, settings: Settings) -> None:
        self._dsn = dsn
        self._settings = settings
        self._late: list[str] = []
        self._snapshots = SnapshotWatch(old_secs=settings.old_snapshot_secs)
        self._is_busy = False
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Begins, unless the setting says never."""
        if self._settings.upkeep_secs > 0:
            self._task = supervise(self._next_round, name="upkeep", unready_after_secs=NEVER_UNREADY)

    async def stop(self) -> None:
        """Ends in the middle of whatever is being done: the transaction at hand is rolled back."""
        await supervisor.stop(self._task)

    def warnings(self) -> list[str]:
        """Sentences for `/health` about jobs that are late, whichever worker does them, and about old snapshots."""
        return [*self._late, *self._snapshots.warnings()]

    async def _next_round(self) -> None:
        pause_secs = min(BUSY_PAUSE_SECS, self._settings.upkeep_secs) if self._is_busy else self._settings.upkeep_secs
        # Several nodes that were started together should not ask together.
        await asyncio.sleep(pause_secs * random.uniform(0.5, 1.5))  # noqa: S311
        try:
            async with asyncio.timeout(MAX_ROUND_SECS):
                await self.run_round()
        except Exception:
            metrics.UPKEEP_FAILURES.inc()
            raise

    async def run_round(self) -> None:
        """Runs every due job for its slice, unless another process is at it."""
        self._is_busy = False
        async with _owner(self._dsn) as connection:
            done, quiet_secs = Round(), QUIET_ROUNDS * self._settings.upkeep_secs
            jobs = await list_jobs(connection, self._settings, done, quiet_secs=quiet_secs)
            failed = []
            if is_ours := await connection.fetchval(_SQL["try_lock"]):
                began_secs = clock.monotonic_secs()
                failed = await run_jobs(connection, jobs)
                done.seconds = clock.monotonic_secs() - began_secs
            await self._measure(connection, jobs)
        if not is_ours:
            self._is_busy = False
            return
        metrics.UPKEEP_SECONDS.observe(done.seconds)
        metrics.UPKEEP_LAST.set(clock.now_millis() / 1000)
        if done.merged.segments_before or done.expired.rows:
            _log.info("A round of upkeep is done.", **done.as_dict())
        _raise_first(failed)

    async def _measure(self, connection: asyncpg.Connection, jobs: list[Job]) -> None:
        await self._snapshots.measure(connection)
        states = await load_states(connection)
        lags = {job: states[job.name].lag_secs(job.every_secs) for job in jobs if job.name in states}
        for job, lag_secs in lags.items():
            metrics.UPKEEP_LAG.labels(job.name).set(lag_secs)
        self._late = [
            f"The upkeep job {job.name} is {lag_secs / 3600:.1f} h late: {job.late}."
            for job, lag_secs in lags.items()
            if lag_secs > LATE_SECS
        ]
        self._is_busy = any(state.under_way_secs is not None for state in states.values())


async def run_once(dsn: str, settings: Settings) -> Round:
    """One round until all is done, for a command.

    Raises:
        FleetwireError: another process is at it for longer than `TAKE_TURNS_SECS`.
    """
    async with exclusive(dsn) as connection:
        done, began_secs = Round(), clock.monotonic_secs()
        failed = await run_jobs(connection, await list_jobs(connection, settings, done, quiet_secs=0.0), pace=at_once)
        _raise_first(failed)
        done.seconds = clock.monotonic_secs() - began_secs
        return done


def _raise_first(failed: list[tuple[str, Exception]]) -> None:
    """Logs the errors of jobs; the first one is for the supervisor, which counts it and waits."""
    for name, error in failed:
        _log.error("A job of upkeep failed.", job=name, exc_info=error)
    for _, error in failed:
        raise error


@asynccontextmanager
async def exclusive(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the owner, while nobody merges, expires or erases.

    Raises:
        FleetwireError: another process is at it for longer than `TAKE_TURNS_SECS`.
    """
    async with _owner(dsn) as connection:
        give_up_at_secs = clock.monotonic_secs() + TAKE_TURNS_SECS
        while not await connection.fetchval(_SQL["try_lock"]):
            if clock.monotonic_secs() > give_up_at_secs:
                raise FleetwireError("Another process is busy with the upkeep of this database; try again later.")
            await asyncio.sleep(0.1)
        yield connection


@asynccontextmanager
async def _owner(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        dsn,
        timeout=10,
        server_settings={
            "application_name": "fleetwire upkeep",
            "timezone": "UTC",
            "statement_timeout": "10min",
            "lock_timeout": "5s",
            # A merge that the network swallowed in the middle holds its device's row for so long.
            "idle_in_transaction_session_timeout": "10s",
            "jit": "off",
            # Plans are made for the days at hand: one for any day would look at every partition.
            "plan_cache_mode": "force_custom_plan",
            # VACUUM leaves room for others on the disk, as autovacuum does.
            "vacuum_cost_delay": "2ms",
            "vacuum_cost_limit": "2000",
        },
    )
    try:
        yield connection
    finally:
        # Its lock goes with the session; a server that is frozen would not answer to a farewell.
        connection.terminate()
