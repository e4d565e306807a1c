"""The live table's part in the relay: own movements go out once a tick, those of others come in, and gaps are filled.

    commit -> live.advance -> departures --(tick)--> relay ... relay -> live.arrive -> this worker's watchers

Applying is free of order: a position only moves forward. So nothing is buffered while the table is loaded, neither at
the start nor after a gap; a worker listens first and reads the database then. While the relay is away, departures wait:
they are the newest position of each device that moved, however long that takes.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import asyncpg

from fleetwire.live.relay.message import MessageKind
from fleetwire.live.relay.peers import LOST_SECS
from fleetwire.live.relay.relay import Relay
from fleetwire.live.state import Live
from fleetwire.live.ticker import Ticker
from fleetwire.runtime import clock
from fleetwire.runtime.retry import Backoff
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.telemetry import metrics

# A row's time is that of the try to commit it, by the clock of the node that did: both may lie behind.
MARGIN_MILLIS: Final = 60_000
GATHER_SECS: Final = 0.2  # several workers of a node are missed at the same moment
PAUSE_SECS: Final = 1.0  # between two looks into the database, however much is missed


class LiveSync:
    """Keeps one worker's live table in step with the others'.

    `moved` is called when others moved something here, `renewed` when watchers must be given a new snapshot.
    """

    def __init__(
        self, live: Live, relay: Relay, *, tick_millis: int, moved: Callable[[], None], renewed: Callable[[], None]
    ) -> None:
        self._live = live
        self._relay = relay
        self._rhythm = Ticker(tick_millis=tick_millis, settle_millis=0)
        self._moved = moved
        self._renewed = renewed
        self._since_millis: int | None = None
        self._was_away = False
        self._missed = asyncio.Event()
        self._tasks: list[SupervisedTask] = []
        self._second_look: asyncio.TimerHandle | None = None
        relay.on(MessageKind.MOVED, self._arrive)
        relay.on_missed(self._miss)

    async def start(self, pool: asyncpg.Pool) -> None:
        """Listens, loads the present, and follows from then on. Does not wait long for an absent relay."""
        await self._relay.start()
        # Whatever was missed before now is in the database, which is read next.
        if self._relay.connections:
            self._forget_missed()
        started_millis = clock.now_millis()
        await self._live.warm(pool)
        # One that dies about now may never be heard here, and so never be missed: what it stored is looked for once.
        self._second_look = asyncio.get_running_loop().call_later(LOST_SECS, self._miss, started_millis, "unknown")
        self._tasks = [
            supervise(self._publish_next, name="relay-movements"),
            supervise(
                lambda: self._catch_up_next(pool),
                name="relay-catch-up",
                backoff=Backoff(first_secs=PAUSE_SECS),
            ),
        ]

    async def stop(self) -> None:
        """Tells the others what they do not know yet."""
        if self._second_look is not None:
            self._second_look.cancel()
        for task in self._tasks:
            await task.stop()
        self._publish()
        await self._relay.stop()

    async def _publish_next(self) -> None:
        await self._rhythm.beat()
        self._publish()

    def _publish(self) -> None:
        if self._relay.state != "disconnected":
            for tenant_id, message in self._live.departed():
                self._relay.publish(MessageKind.MOVED, tenant_id, message)

    def _arrive(self, tenant_id: int, message: bytes) -> None:
        if self._live.arrive(tenant_id, message):
            self._moved()

    def _miss(self, since_millis: int, why: str) -> None:
        self._since_millis = since_millis if self._since_millis is None else min(since_millis, self._since_millis)
        self._was_away = self._was_away or why == "outage"
        self._relay.is_catching_up = self._was_away
        self._missed.set()

    def _forget_missed(self) -> tuple[int | None, bool]:
        forgotten = self._since_millis, self._was_away
        self._since_millis, self._was_away = None, False
        self._relay.is_catching_up = False
        self._missed.clear()
        return forgotten

    async def _catch_up_next(self, pool: asyncpg.Pool) -> None:
        await self._missed.wait()
        await asyncio.sleep(GATHER_SECS)
        try:
            await self._catch_up(pool)
        except BaseException:
            self._missed.set()
            raise
        await asyncio.sleep(PAUSE_SECS)

    async def _catch_up(self, pool: asyncpg.Pool) -> None:
        """Reads what moved since the first moment that was missed."""
        self._missed.clear()
        if self._since_millis is None:
            return
        moved = await self._live.catch_up(pool, since_millis=self._since_millis - MARGIN_MILLIS)
        if self._missed.is_set():
            # More was missed while this was read, some of it perhaps just behind the reader.
            return
        _, was_away = self._forget_missed()
        metrics.RELAY_CAUGHT_UP.inc(moved)
        if moved:
            self._moved()
        if was_away:
            # Positions are all there, yet what else an epoch stands for may have been missed as well.
            self._live.renew()
            self._renewed()
