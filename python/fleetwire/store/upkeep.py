"""What the store needs from time to time: partitions ahead, retention, ended logins, merging. One process does it.

A round opens a connection of the database's owner, takes an advisory lock for its session and does a bounded amount of
work, resting after each transaction as long as that took. What is left over is the next round's.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import structlog

from fleetwire import clock, metrics
from fleetwire.errors import FleetwireError
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise
from fleetwire.settings import Settings
from fleetwire.store import statements
from fleetwire.store.compaction import Compaction, Pace
from fleetwire.store.expiry import Expired, Expiry, agreed_millis
from fleetwire.store.merging import Merged
from fleetwire.store.row_expiry import expire_audit, expire_events

_log = structlog.get_logger(__name__)
_SQL = statements.load("upkeep")
_INGEST_SQL = statements.load("ingest")

DAYS_AHEAD = 3
ROUND_SECS = 30.0  # of the server's rounds
MAX_ROUND_SECS = 3600.0  # a network that swallows what is sent never answers; each statement ends by itself before
QUIET_ROUNDS = 10  # what still grows is left alone; at the usual pause, ten minutes
EXPIRY_EVERY_SECS = 3600.0
SESSIONS_EVERY_SECS = 900.0
TAKE_TURNS_SECS = 60.0  # how long a command waits for the server's round


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did."""

    merged: Merged
    expired: Expired
    sessions: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            **asdict(self.merged),
            **{f"expired_{name}": value for name, value in asdict(self.expired).items()},
            "ended_sessions": self.sessions,
            "seconds": round(self.seconds, 3),
        }


class Upkeep:
    """The server's rounds, in the background."""

    def __init__(self, dsn: str, settings: Settings) -> None:
        self._dsn = dsn
        self._settings = settings
        self._visited: dict[str, datetime] = {}
        self._expire_at_secs = 0.0
        self._end_sessions_at_secs = 0.0
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Begins, unless the setting says never."""
        if self._settings.upkeep_secs > 0:
            self._task = supervise(self._next_round, name="upkeep", unready_after_secs=NEVER_UNREADY)

    async def stop(self) -> None:
        """Ends in the middle of whatever is being done: the transaction at hand is rolled back."""
        await supervisor.stop(self._task)

    async def _next_round(self) -> None:
        # Several nodes that were started together should not ask together.
        await asyncio.sleep(self._settings.upkeep_secs * random.uniform(0.5, 1.5))  # noqa: S311
        try:
            async with asyncio.timeout(MAX_ROUND_SECS):
                await self._round()
        except Exception:
            metrics.UPKEEP_FAILURES.inc()
            raise

    async def _round(self) -> None:
        async with _owner(self._dsn) as connection:
            if not await connection.fetchval(_SQL["try_lock"]):
                return
            now_secs = clock.monotonic_secs()
            expires, ends_sessions = now_secs >= self._expire_at_secs, now_secs >= self._end_sessions_at_secs
            done = await _do(
                connection,
                self._settings,
                visited=self._visited,
                pace=_resting(ROUND_SECS),
                quiet_secs=QUIET_ROUNDS * self._settings.upkeep_secs,
                expires=expires,
                ends_sessions=ends_sessions,
            )
        if ends_sessions:
            self._end_sessions_at_secs = now_secs + SESSIONS_EVERY_SECS
        if expires and done.seconds < ROUND_SECS:
            self._expire_at_secs = clock.monotonic_secs() + EXPIRY_EVERY_SECS
        metrics.UPKEEP_SECONDS.observe(done.seconds)
        metrics.UPKEEP_LAST.set(clock.now_millis() / 1000)
        if done.merged.segments_before or done.expired.rows:
            _log.info("A round of upkeep is done.", **done.as_dict())


async def run_once(dsn: str, settings: Settings) -> Round:
    """One round until all is done, for a command.

    Raises:
        FleetwireError: another process is at it for longer than `TAKE_TURNS_SECS`.
    """
    async with exclusive(dsn) as connection:
        return await _do(connection, settings, visited={}, pace=_at_once, quiet_secs=0.0)


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


async def _do(
    connection: asyncpg.Connection,
    settings: Settings,
    *,
    visited: dict[str, datetime],
    pace: Pace,
    quiet_secs: float,
    expires: bool = True,
    ends_sessions: bool = True,
) -> Round:
    began_secs, now_millis = clock.monotonic_secs(), clock.now_millis()
    earlier_millis = await agreed_millis(connection, now_millis=now_millis)
    today = datetime.fromtimestamp(earlier_millis / 1000, UTC).date()
    await connection.execute(_INGEST_SQL["ensure_days"], [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)])
    sessions = await _delete_ended_sessions(connection) if ends_sessions else 0
    expired = Expired()
    if expires:
        expiry = Expiry(connection, retention_days=settings.retention_days, pace=pace)
        expired = await expiry.run(now_millis=earlier_millis)
        expired.events = await expire_events(
            connection, retention_days=settings.event_retention_days, now_millis=earlier_millis, pace=pace
        )
        expired.audit_entries = await expire_audit(
            connection, retention_days=settings.audit_retention_days, now_millis=earlier_millis, pace=pace
        )
    compaction = Compaction(connection, merge_after_secs=settings.merge_after_secs, pace=pace, quiet_secs=quiet_secs)
    merged = await compaction.run(now_millis=now_millis, visited=visited)
    return Round(merged, expired, sessions, clock.monotonic_secs() - began_secs)


async def _delete_ended_sessions(connection: asyncpg.Connection) -> int:
    deleted = int((await connection.execute(_SQL["delete_ended_sessions"])).removeprefix("DELETE "))
    metrics.ENDED_SESSIONS.inc(deleted)
    return deleted


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


def _resting(limit_secs: float) -> Pace:
    """Half of the time for others, and no more than so long in all."""
    stop_at_secs = clock.monotonic_secs() + limit_secs

    async def pace(spent_secs: float) -> bool:
        await asyncio.sleep(spent_secs)
        return clock.monotonic_secs() < stop_at_secs

    return pace


async def _at_once(_: float) -> bool:
    return True
