"""Events reach the sockets of this worker. The store is the truth; here are only the newest ones, read once for all.

    commit --wake--> Tail of the tenant reads what is new --> the feeds in whose rooms something is --> sockets

A wake-up carries no event, only that there is one: it comes from this process after its own commit, from PostgreSQL's
notification, or from the relay. Lost ones cost time and nothing else, because every reader goes on from its own number.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec
import structlog

from fleetwire.fanout.events import event_log
from fleetwire.fanout.events.event_cursor import EventCursor, RenderedEvent
from fleetwire.fleet.orders import store
from fleetwire.postgres.listener import Listener
from fleetwire.runtime.retry import Backoff
from fleetwire.runtime.supervisor import supervise
from fleetwire.runtime.tasks import spawn
from fleetwire.telemetry import metrics

TAIL_EVENTS: Final = 256
READS_AT_ONCE: Final = 4  # beside logins and tracks on the same pool
MAX_PAUSE_SECS: Final = 1.0  # after the database is back, watchers wait no longer than this
FINISH_SECS: Final = 1.0  # for a page that is being read when nobody wants it any more

_log = structlog.get_logger(__name__)


class EventHub:
    """The feeds of this worker by tenant."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        listener: Listener,
        *,
        tell: Callable[[int, int], None] = lambda *_: None,
        ordered: Callable[[int, str, list[int]], None] = lambda *_: None,
    ) -> None:
        """`tell` tells other workers of an event, `ordered` this one and others of the devices of an order."""
        self.pool = pool
        self.ordered = ordered
        self._tell = tell
        self._tails: dict[int, Tail] = {}
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        listener.on(event_log.CHANNEL, heard=self._heard, connected=self.wake_all)
        listener.on(store.CHANNEL, heard=self._heard_order, connected=self._doubt_orders)

    async def stop(self) -> None:
        """Ends everything that runs behind."""
        await asyncio.gather(*(tail.stop() for tail in list(self._tails.values())))

    def wake(self, tenant_id: int, seq: int) -> None:
        """The tenant has an event of this number, committed. For whoever hears of it first."""
        tail = self._tails.get(tenant_id)
        if tail is not None:
            tail.wake(seq)

    def announce(self, tenant_id: int, seq: int) -> None:
        """This worker stored an event: whoever is watched here is woken, and the other workers are told."""
        self.wake(tenant_id, seq)
        self._tell(tenant_id, seq)

    def wake_all(self) -> None:
        """Wake-ups may have been lost: every tenant that is watched is read again from where it was."""
        for tail in self._tails.values():
            tail.wake(None)

    def reset(self) -> None:
        """Drops all events in memory: the database is another one, and its numbers may be lower."""
        for tail in self._tails.values():
            tail.reset()

    async def is_contained(self) -> bool:
        """Whether the database has the newest event of every tenant that is watched."""
        for tail in list(self._tails.values()):
            if not await tail.is_contained():
                return False
        return True

    def tail(self, tenant_id: int) -> "Tail":
        """The tenant's tail; read from now on, and kept while a feed is counted by `add`."""
        if tenant_id not in self._tails:
            self._tails[tenant_id] = Tail(self, tenant_id)
        return self._tails[tenant_id]

    def add(self, feed: EventCursor) -> None:
        """The feed reads from its tenant's tail."""
        self.tail(feed.tenant_id).feeds += 1

    def remove(self, feed: EventCursor) -> None:
        """No longer; the last one takes the tail along."""
        tail = self._tails[feed.tenant_id]
        tail.leave(feed)
        tail.feeds -= 1
        if not tail.feeds:
            del self._tails[feed.tenant_id]
            _ = spawn(tail.stop(), name="event-tail-stop")

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """A turn at the database; the sockets that wait for one are bounded by the sockets there are."""
        async with self._reads:
            yield

    def _heard_order(self, payload: str) -> None:
        tenant_id, _, order = payload.partition(" ")
        tail = self._tails.get(int(tenant_id)) if tenant_id.isdecimal() else None
        if tail is not None:
            tail.doubt_order(order)

    def _doubt_orders(self) -> None:
        for tail in self._tails.values():
            tail.doubt_order(None)

    def _heard(self, payload: str) -> None:
        tenant_id, _, seq = payload.partition(" ")
        if tenant_id.isdecimal() and seq.isdecimal():
            self.wake(int(tenant_id), int(seq))
        else:
            self.wake_all()


class Tail:
    """The newest events of one tenant, and who is in which room."""

    def __init__(self, hub: EventHub, tenant_id: int) -> None:
        self._hub = hub
        self._tenant_id = tenant_id
        self.feeds = 0
        self.newest = 0
        self._lines: deque[RenderedEvent] = deque(maxlen=TAIL_EVENTS)
        self._rooms: dict[str | None, set[EventCursor]] = {}
        self._is_over = False
        self._is_behind = asyncio.Event()
        self._is_behind.set()  # The first reading finds out where the tenant's events end.
        self._loaded = asyncio.Event()
        self._reader = supervise(
            self._read_next,
            name="event-tail",
            backoff=Backoff(max_secs=MAX_PAUSE_SECS),
            goes_on=lambda: not self._is_over,
        )

    async def ready(self) -> None:
        """Returns when the tenant's newest number is known."""
        await self._loaded.wait()

    async def stop(self) -> None:
        """Ends the reading, after what is being read."""
        self._is_over = True
        self._is_behind.set()
        await self._reader.wait(timeout_secs=FINISH_SECS)
        await self._reader.stop()

    def reset(self) -> None:
        """Begins again at the newest event of another database."""
        self.newest = 0
        self._lines.clear()
        self._loaded.clear()
        self._is_behind.set()

    async def is_contained(self) -> bool:
        """Whether the database has the newest event that was read, with the same content."""
        newest, last = self.newest, self._lines[-1] if self._lines else None
        if (await event_log.span(self._hub.pool, self._tenant_id)).newest < newest:
            return False
        if last is None or last.seq != newest:
            return True
        # None: retention deleted it.
        return (
            not (found := await self.page(newest - 1, None)) or found[0].seq != newest or found[0].frame == last.frame
        )

    def wake(self, seq: int | None) -> None:
        """Something is new; None: perhaps."""
        if seq is None or seq > self.newest:
            self._is_behind.set()

    def enter(self, feed: EventCursor) -> None:
        """The feed is woken by events of its rooms."""
        for room in [None] if feed.rooms is None else feed.rooms:
            self._rooms.setdefault(room, set()).add(feed)

    def leave(self, feed: EventCursor) -> None:
        """It is woken by none any more."""
        for room in [None] if feed.rooms is None else feed.rooms:
            feeds = self._rooms.get(room, set())
            feeds.discard(feed)
            if not feeds:
                self._rooms.pop(room, None)

    def doubt_order(self, order: str | None) -> None:
        """The order (None: any) may have other devices: who is in its room may have to leave."""
        for room in list(self._rooms) if order is None else [f"order:{order}"]:
            if room is not None and room.startswith("order:"):
                for feed in self._rooms.get(room, ()):
                    feed.on_doubt()

    def lines_after(self, seq: int) -> list[RenderedEvent] | None:
        """The events after a number out of memory; None where memory does not reach back so far."""
        first_seq = self.newest - len(self._lines) + 1
        return [line for line in self._lines if line.seq > seq] if seq >= first_seq - 1 else None

    async def page(self, after_seq: int, rooms: list[str] | None) -> list[RenderedEvent]:
        """Events after a number out of the store."""
        async with self._hub.reading():
            found = await event_log.page(self._hub.pool, self._tenant_id, after_seq=after_seq, rooms=rooms)
        metrics.EVENT_PAGES.inc()
        return [RenderedEvent(event.seq, event.room, event.kind, msgspec.json.encode(event)) for event in found]

    async def _read_next(self) -> None:
        """Reads until nothing is new. The flag is taken down first: what is committed during the reading sets it."""
        await self._is_behind.wait()
        if self._is_over:
            return
        if not self._loaded.is_set():
            async with self._hub.reading():
                self.newest = (await event_log.span(self._hub.pool, self._tenant_id)).newest
            self._loaded.set()
        self._is_behind.clear()
        full = True
        while full:
            try:
                lines = await self.page(self.newest, None)
            except BaseException:
                self._is_behind.set()
                raise
            full = len(lines) == event_log.PAGE_ROWS
            if lines:
                self._take(lines)

    def _take(self, lines: list[RenderedEvent]) -> None:
        before_seq, self.newest = self.newest, lines[-1].seq
        if lines[0].seq != before_seq + 1 or len(lines) != lines[-1].seq - before_seq:
            self._lines.clear()  # Retention has been there: what is in memory must be without a hole.
            lines_kept = lines[-1:]
        else:
            lines_kept = lines
        self._lines.extend(lines_kept)
        concerned = set(self._rooms.get(None, ()))
        for line in lines:
            concerned.update(self._rooms.get(line.room, ()))
        for feed in concerned:
            feed.wake(before_seq)
