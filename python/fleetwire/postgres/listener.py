"""Hears PostgreSQL's notifications for a whole worker, on one connection of its own, for as long as the process lives.

A connection that breaks is made again. What was notified in between is lost, so every subscriber is told of every new
connection and must then trust nothing it remembers.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import asyncpg
import structlog

from fleetwire.postgres.incarnation import Incarnation
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import SupervisedTask, supervise

# A connection may die without a word (a firewall, a machine that is gone): it is asked this often, and must answer.
PROBE_SECS: Final = 5.0
PROBE_LIMIT_SECS: Final = 3.0
APPLICATION_NAME: Final = "fleetwire listener"
"""What operators see in pg_stat_activity."""

_log = structlog.get_logger(__name__)


class _Subscriber(NamedTuple):
    channel: str
    heard: Callable[[str], object]
    connected: Callable[[], object]


class Listener:
    """Listens on the channels of all subscribers, who are named before `start`."""

    def __init__(self, dsn: str, incarnation: Incarnation | None = None) -> None:
        self._dsn = dsn
        self._incarnation = incarnation or Incarnation()
        self._subscribers: list[_Subscriber] = []
        self._task: SupervisedTask | None = None
        self._first = asyncio.Event()
        self.is_listening = False
        self.connections = 0

    def on(self, channel: str, *, heard: Callable[[str], object], connected: Callable[[], object]) -> None:
        """From now on `heard` is called with each payload, `connected` after each connection that listens.

        Both in the event loop's thread; neither may block.
        """
        self._subscribers.append(_Subscriber(channel, heard, connected))

    async def start(self, *, wait_secs: float = 5.0) -> None:
        """Returns when the first connection listens, or after `wait_secs`: then it goes on trying in the background."""
        self._task = supervise(self._listen, name="listener")
        try:
            await asyncio.wait_for(self._first.wait(), wait_secs)
        except TimeoutError:
            _log.warning("Not listening yet.")

    async def stop(self) -> None:
        """Closes the connection."""
        await supervisor.stop(self._task)

    async def _listen(self) -> None:
        """Makes a connection and listens on it until it is lost."""
        connection = await asyncpg.connect(
            self._dsn, timeout=PROBE_LIMIT_SECS, server_settings={"application_name": APPLICATION_NAME}
        )
        try:
            await self._incarnation.check(connection, timeout_secs=PROBE_LIMIT_SECS)
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            for channel in dict.fromkeys(subscriber.channel for subscriber in self._subscribers):
                await connection.add_listener(channel, self._take)
            self.is_listening = True
            self.connections += 1
            for subscriber in self._subscribers:
                _tell(subscriber.channel, subscriber.connected)
            self._first.set()
            if self._task is not None:
                self._task.record_success()
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), PROBE_SECS)
                except TimeoutError:
                    # A backup may be put back into a database without breaking any connection.
                    await self._incarnation.check(connection, timeout_secs=PROBE_LIMIT_SECS)
            raise ConnectionError("The listening connection is lost.")
        finally:
            self.is_listening = False
            # Not a polite goodbye: the other side may be gone, and a goodbye would wait for it.
            connection.terminate()

    def _take(self, _connection: Any, _pid: int, channel: str, payload: object) -> None:  # noqa: ANN401
        for subscriber in self._subscribers:
            if subscriber.channel == channel:
                _tell(channel, subscriber.heard, str(payload))


def _tell(channel: str, callback: Callable[..., object], *payload: str) -> None:
    """Calls a subscriber; its mistake must not leave the others deaf."""
    try:
        callback(*payload)
    except Exception:  # noqa: BLE001
        _log.exception("A notification could not be used.", channel=channel)
