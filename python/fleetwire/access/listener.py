"""Hears PostgreSQL's notifications on a connection of its own, for as long as the process lives.

A connection that breaks is made again. What was notified in between is lost, so the owner is told of every new
connection and must then trust nothing it remembers.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

from fleetwire import tasks
from fleetwire.store.faults import PASSING

FIRST_WAIT_SECS: Final = 0.1
LONGEST_WAIT_SECS: Final = 5.0
# A connection may die without a word (a firewall, a machine that is gone): it is asked this often, and must answer.
PROBE_SECS: Final = 5.0
PROBE_LIMIT_SECS: Final = 3.0

_log = structlog.get_logger(__name__)


class Listener:
    """Listens on one channel.

    `heard` is called with each payload and `connected` after each connection that listens, both in the event loop's
    thread; neither may block.
    """

    def __init__(self, dsn: str, channel: str, *, heard: Callable[[str], None], connected: Callable[[], None]) -> None:
        self._dsn = dsn
        self._channel = channel
        self._heard = heard
        self._connected = connected
        self._task: asyncio.Task[None] | None = None
        self._first = asyncio.Event()
        self.is_listening = False
        self.connections = 0

    async def start(self, *, wait_secs: float = 5.0) -> None:
        """Returns when the first connection listens, or after `wait_secs`: then it goes on trying behind."""
        self._task = tasks.spawn(self._run(), name=f"listener-{self._channel}")
        try:
            await asyncio.wait_for(self._first.wait(), wait_secs)
        except TimeoutError:
            _log.warning("Not listening yet.", channel=self._channel)

    async def stop(self) -> None:
        """Closes the connection."""
        await tasks.cancel(self._task)

    async def _run(self) -> None:
        wait_secs = FIRST_WAIT_SECS
        while True:
            listened = self.connections
            try:
                await self._listen()
            except (asyncpg.PostgresError, *PASSING) as error:
                _log.warning("The listening connection is lost.", channel=self._channel, error=str(error))
            finally:
                self.is_listening = False
            if self.connections > listened:
                wait_secs = FIRST_WAIT_SECS
            # Spread, so that the workers of a restarted database do not come back as one.
            await asyncio.sleep(wait_secs * random.uniform(0.5, 1.0))  # noqa: S311 - nothing secret
            wait_secs = min(2 * wait_secs, LONGEST_WAIT_SECS)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=PROBE_LIMIT_SECS)
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(self._channel, self._take)
            self.is_listening = True
            self.connections += 1
            self._connected()
            self._first.set()
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), PROBE_SECS)
                except TimeoutError:
                    await connection.execute("SELECT", timeout=PROBE_LIMIT_SECS)
        finally:
            # Not a polite goodbye: the other side may be gone, and a goodbye would wait for it.
            connection.terminate()

    def _take(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:  # noqa: ANN401
        self._heard(str(payload))
