"""What is said about events on one socket, the same on `/ws` and `/ws/dispatch`.

Text messages of the types `events`, `ack` and `event` end here; every other one is the conversation's own.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.errors import DatabaseAway, Problem
from fleetwire.fanout.events import event_log, rooms
from fleetwire.fanout.events.event_cursor import MAX_PAUSE_SECS, EventCursor, RenderedEvent
from fleetwire.fanout.events.event_hub import FINISH_SECS, EventHub, Tail
from fleetwire.fanout.events.event_messages import (
    MAX_EVENT_MESSAGE_BYTES,
    Ack,
    EventMessage,
    EventStored,
    Failure,
    Join,
    Joined,
    Publish,
    Typed,
)
from fleetwire.fanout.events.publishing import orders_heard, publish
from fleetwire.fanout.sockets.close_codes import Close
from fleetwire.fanout.sockets.sockets import Socket, SocketMessage
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime.client_data import Undecodable, decode
from fleetwire.runtime.retry import Backoff, RetryState, retry
from fleetwire.runtime.tasks import cancel, finish, spawn
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

TYPES: Final = frozenset({"event", "events", "ack"})
READY_SECS: Final = 5.0  # how long a socket's reading waits for the database, once, before it answers that it is away
# A batch that says so at its start is not decoded here: it has its own decoder, and thousands come each second.
_BATCHES: Final = (b'{"type":"batch"', b'{"type": "batch"')

_TYPED: Final = msgspec.json.Decoder(Typed)
_MESSAGES: Final[msgspec.json.Decoder[EventMessage]] = msgspec.json.Decoder(EventMessage)

_log = structlog.get_logger(__name__)


class EventSession:
    """One socket's part in the events of its tenant."""

    def __init__(self, hub: EventHub, socket: Socket, limits: RateLimiter, settings: Settings) -> None:
        self._hub = hub
        self._limits = limits
        self._socket = socket
        self._settings = settings
        self._feed = EventCursor(socket, settings, on_sent=self._mind, on_doubt=self._doubt)
        self._tail: Tail | None = None
        self._starting: asyncio.Task[None] | None = None
        self._told_anew_to_seq = 0
        self._is_sure = asyncio.Event()
        self._checking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Joins the rooms of a socket that asks for none."""
        if first := rooms.first_rooms(self._socket.principal):
            self._starting = spawn(self._join_first(first), name="event-start")

    async def stop(self) -> None:
        """Leaves everything."""
        await cancel(self._starting)
        tail, self._tail = self._tail, None  # From here on no room is entered again.
        await finish(self._checking, within_secs=FINISH_SECS)
        await self._feed.stop()
        if tail is not None:
            self._hub.remove(self._feed)

    async def takes(self, message: SocketMessage) -> bool:
        """Follows a message that is about events; False for any other, which is left as it is."""
        if not message.is_text or message.data.startswith(_BATCHES):
            return False
        try:
            typed = decode(_TYPED, message.data)
        except Undecodable:
            return False
        if typed.type not in TYPES:
            return False
        named = None if typed.id is None else str(typed.id)
        try:
            await self._follow(_read(message.data), named)
        except Problem as problem:
            await self._refuse(problem, named)
        except TRANSIENT:
            await self._refuse(DatabaseAway(), named)
        return True

    async def _follow(self, message: EventMessage, named: str | None) -> None:
        principal = self._socket.principal
        principal.require("events")
        if isinstance(message, Ack):  # Costs nothing: the rate of the socket's messages is enough.
            self._feed.acknowledge(message.seq)
        elif isinstance(message, Join):
            self._limits.message(principal)
            await self._rejoin(message)
        else:
            self._limits.request(principal)  # As the same event over HTTP.
            await self._publish(message, named)

    async def _publish(self, message: Publish, named: str | None) -> None:
        future_secs = self._settings.future_secs
        stored = await publish(self._hub, self._socket.principal, message, future_secs=future_secs)
        await self._answer(msgspec.json.encode(EventStored(stored.seq, named)), "event_stored")

    async def _rejoin(self, message: Join) -> None:
        principal, names = self._socket.principal, list(dict.fromkeys(message.rooms))
        rooms.check_names(names)
        rooms.check_hears(principal, names, await orders_heard(self._hub, principal, names))
        await cancel(self._starting)
        self._feed.expect_acknowledgements()
        try:
            async with asyncio.timeout(READY_SECS):
                await self._join(names, message.after, answers=True)
        except TimeoutError:
            raise DatabaseAway from None

    async def _join_first(self, names: list[str]) -> None:
        try:
            await self._join(names, None)
        except Exception:  # noqa: BLE001 - an open socket that is told nothing looks like one without events
            _log.exception("A watcher could not be told of events.")
            self._socket.dismiss(Close.INTERNAL)

    async def _join(self, names: list[str], after: int | None, *, answers: bool = False) -> None:
        own = rooms.own_room(self._socket.principal)
        if own is not None and own not in names:
            names = [*names, own]  # There it hears that an order is withdrawn.
        wanted = rooms.room_filter(self._socket.principal, names)
        tail = self._tail
        if tail is None:
            tail = self._hub.tail(self._socket.principal.tenant_id)
            self._tail = tail
            self._hub.add(self._feed)
        await tail.ready()
        told_seq = await self._feed.rest()
        try:
            start_seq, gap = await self._start(tail, after, told_seq)
        except BaseException:
            self._feed.go_on(tail, told_seq or tail.newest, repeats=False)
            raise
        tail.leave(self._feed)
        self._feed.rooms = wanted
        tail.enter(self._feed)
        self._told_anew_to_seq = tail.newest if after is not None else 0
        if any(name.startswith("order:") for name in names):
            self._doubt()  # What changed since these names were checked was told to whoever was in the rooms by then.
        if answers:
            await self._answer(msgspec.json.encode(Joined(names, start_seq, gap)), "joined")
        self._feed.go_on(tail, start_seq, repeats=after is not None)

    async def _start(self, tail: Tail, after: int | None, told_seq: int) -> tuple[int, bool]:
        """Behind which number the feed starts, and whether events are missing that the client expects."""
        if after is None:
            return told_seq or tail.newest, False
        if after <= tail.newest and tail.lines_after(after) is not None:
            return after, False
        span = await event_log.span(self._hub.pool, self._socket.principal.tenant_id)
        if after > span.newest:  # It was told by another database than this one.
            return span.newest, True
        return max(after, span.oldest - 1), after < span.oldest - 1

    def _mind(self, line: RenderedEvent) -> None:
        """An order that is withdrawn from a driver takes its room away."""
        if line.kind != "assignment" or line.room != rooms.own_room(self._socket.principal) or self._tail is None:
            return
        assignment = msgspec.json.decode(line.frame)["payload"]
        if assignment["state"] != "withdrawn":
            return
        if line.seq <= self._told_anew_to_seq:
            self._doubt()  # It comes again, and the order may have been given back since.
        else:
            self._leave({f"order:{assignment['order']}"})

    def _doubt(self) -> None:
        """An order of the rooms may have other devices: a driver's orders are looked up, once for all that changed."""
        if not self._socket.principal.may("dispatch"):
            self._is_sure.clear()
            if self._checking is None or self._checking.done():
                self._checking = spawn(self._check_orders(), name="event-orders")

    async def _check_orders(self) -> None:
        state = RetryState("event-orders", Backoff(max_secs=MAX_PAUSE_SECS))
        while self._tail is not None and not self._is_sure.is_set():
            await retry(self._check_orders_once, name=state.name, state=state)

    async def _check_orders_once(self) -> None:
        if self._tail is None:
            return
        self._is_sure.set()
        rooms_of_orders = [room for room in self._feed.rooms or () if room.startswith("order:")]
        try:
            theirs = await orders_heard(self._hub, self._socket.principal, rooms_of_orders)
        except BaseException:
            self._is_sure.clear()
            raise
        if self._is_sure.is_set():
            self._leave({room for room in rooms_of_orders if room.removeprefix("order:") not in theirs})

    def _leave(self, names: set[str]) -> None:
        if self._tail is not None and self._feed.rooms is not None and not names.isdisjoint(self._feed.rooms):
            self._tail.leave(self._feed)
            self._feed.rooms = [name for name in self._feed.rooms if name not in names]
            self._tail.enter(self._feed)

    async def _refuse(self, problem: Problem, named: str | None) -> None:
        await self._answer(msgspec.json.encode(Failure.of(problem, named)), "error")

    async def _answer(self, frame: bytes, kind: str) -> None:
        metrics.FRAMES.labels(kind).inc()
        metrics.FRAME_BYTES.labels(kind).inc(len(frame))
        await self._socket.send(frame)


def _read(data: bytes) -> EventMessage:
    if len(data) > MAX_EVENT_MESSAGE_BYTES:
        raise Problem(
            "message_invalid", f"A message about events holds at most {MAX_EVENT_MESSAGE_BYTES} bytes.", status=400
        )
    try:
        return decode(_MESSAGES, data)
    except Undecodable as error:
        raise Problem("message_invalid", f"The message does not fit its type: {error}.", status=400) from error
