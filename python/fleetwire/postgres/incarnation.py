"""Notices that another database answers than the one whose numbers are in memory: a backup, another server, a failover.

    every new connection, and the listener every few seconds --fingerprint--> same as before? --no--> unsettled
    unsettled: nothing is committed --> another database, or one that lacks what this worker knows? --> replaced
                                   +--> it has all of it, such as after a restart                   --> settled

A number of a device or tenant that is in memory may belong to another one in a database that was put back. So when the
database was replaced, everything that was read from the one before is dropped, and batches that wait are refused.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import structlog

from fleetwire.postgres import statements
from fleetwire.runtime import supervisor
from fleetwire.runtime.retry import Backoff
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.telemetry import metrics

_SQL = statements.load("postgres/connection")
_log = structlog.get_logger(__name__)

MAX_PAUSE_SECS: Final = 1.0  # between two tries to compare: no batch is stored meanwhile


class Fingerprint(NamedTuple):
    """Which database a connection leads to. Differs after every way to put one back, and after a mere restart."""

    system_identifier: int
    timeline_id: int
    database_oid: int
    started_at: datetime
    """Start of the server: a data folder cannot be replaced under a running one."""
    table_files: tuple[int, ...]
    """Files of the tables that give numbers: others after a restore into the same database, and after VACUUM FULL."""

    @property
    def identity(self) -> tuple[int, int, int]:
        """The part that a restart does not change."""
        return self[:3]


class Incarnation:
    """Counts the databases that this worker has met one after the other."""

    def __init__(self) -> None:
        self.generation = 0
        """Numbers that were read in an earlier generation mean nothing in this one."""
        self.is_settled = True
        self._fingerprint: Fingerprint | None = None
        self._is_other = False
        self._must_reload = False
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._on_suspected: list[Callable[[], object]] = []
        self._comparisons: list[Callable[[], Awaitable[bool]]] = []
        self._on_replaced: list[Callable[[], object]] = []
        self._reloads: list[Callable[[], Awaitable[object]]] = []
        self._task: SupervisedTask | None = None

    def on_suspected(self, callback: Callable[[], object]) -> None:
        """Calls `callback` whenever the database may be another one: for caches that cost only a query."""
        self._on_suspected.append(callback)

    def on_replaced(self, callback: Callable[[], object]) -> None:
        """Calls `callback` when the database is another one."""
        self._on_replaced.append(callback)

    def compare_by(self, comparison: Callable[[], Awaitable[bool]]) -> None:
        """Uses a comparison: True if the database has everything that this worker knows of it."""
        self._comparisons.append(comparison)

    def reload_by(self, reload: Callable[[], Awaitable[object]]) -> None:
        """Calls `reload` after `on_replaced`, until it succeeds; nothing is committed before."""
        self._reloads.append(reload)

    def start(self) -> None:
        """Starts to settle what `note` finds."""
        self._task = supervise(self._settle_next, name="incarnation", backoff=Backoff(max_secs=MAX_PAUSE_SECS))

    async def stop(self) -> None:
        """Stops the background task."""
        await supervisor.stop(self._task)

    async def check(self, connection: asyncpg.Connection, *, timeout_secs: float | None = None) -> None:
        """Reads and notes the fingerprint of a connection's database."""
        self.note(await connection.fetchrow(_SQL["describe_connection"], timeout=timeout_secs))

    def note(self, described: Any) -> None:  # noqa: ANN401 - a row of describe_connection
        """Compares the fingerprint in a row of `describe_connection` with the last one.

        Raises:
            CannotConnectNowError: the database is being put back, and lacks tables or rows.
        """
        if not described["is_whole"]:
            raise asyncpg.CannotConnectNowError("The database is being restored, or has not been migrated.")
        found = Fingerprint(
            described["system_identifier"],
            described["timeline_id"],
            described["database_oid"],
            described["started_at"],
            tuple(described["table_files"]),
        )
        before, self._fingerprint = self._fingerprint, found
        if before is None or before == found:
            return
        _log.warning("The database was restarted, or is another one.", before=str(before), now=str(found))
        self.is_settled = False
        self._settled.clear()
        self._is_other = self._is_other or before.identity != found.identity
        self._changed.set()
        for callback in self._on_suspected:
            callback()

    async def settled(self, *, timeout_secs: float) -> None:
        """Waits until it is known which database this is.

        Raises:
            TimeoutError: that took longer.
        """
        if not self.is_settled:
            async with asyncio.timeout(timeout_secs):
                await self._settled.wait()

    async def _settle_next(self) -> None:
        await self._changed.wait()
        self._changed.clear()
        try:
            if self._is_other or not await self._agrees():
                self._replace()
            if self._must_reload:
                for reload in self._reloads:
                    await reload()
                self._must_reload = False
        except BaseException:
            self._changed.set()
            raise
        if not self._changed.is_set():
            self.is_settled = True
            self._settled.set()

    async def _agrees(self) -> bool:
        for comparison in self._comparisons:
            if not await comparison():
                return False
        return True

    def _replace(self) -> None:
        self.generation += 1
        self._is_other = False
        self._must_reload = True
        metrics.DATABASE_REPLACED.inc()
        _log.warning("The database is another one than before: everything known of it is dropped.")
        for callback in self._on_replaced:
            callback()
