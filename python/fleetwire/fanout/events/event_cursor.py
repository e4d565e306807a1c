"""The events of one socket: in which rooms it is, how far it has been told, and what it has acknowledged.

A feed has no queue. It holds a number, and goes on behind it when its socket has taken what came before; what it has
missed meanwhile comes out of the tenant's tail, or page by page out of the store. It runs only while there is something
to send. A watcher that acknowledges is sent at most a window ahead of its acknowledgements, and is closed as slow when
one is overdue: it comes back with the last number it has seen, and gets everything behind it again.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import structlog

from fleetwire.fanout.events.event_log import PAGE_ROWS
from fleetwire.fanout.sockets.close_codes import Close
from fleetwire.fanout.sockets.sockets import Closing, Socket
from fleetwire.runtime import clock
from fleetwire.runtime.retry import Backoff, RetryState, retry
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

MAX_PAUSE_SECS: Final = 1.0  # after the database is back, a watcher waits no longer than this

_log = structlog.get_logger(__name__)


class RenderedEvent(NamedTuple):
    """An event, rendered once for all who get it."""

    seq: int
    room: str
    kind: str
    frame: bytes


class EventSource(Protocol):
    """Where a feed reads: the tail of its tenant."""

    newest: int

    def lines_after(self, seq: int) -> list[RenderedEvent] | None:
        """Out of memory, or None."""

    async def page(self, after_seq: int, rooms: list[str] | None) -> list[RenderedEvent]:
        """Out of the store."""


class EventCursor:
    """One socket's place in its tenant's log."""

    def __init__(
        self,
        socket: Socket,
        settings: Settings,
        *,
        on_sent: Callable[[RenderedEvent], None],
        on_doubt: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_sent` is told of each event, `on_doubt` when an order of the rooms may not be the watcher's any more."""
        self.tenant_id = socket.principal.tenant_id
        self.rooms: list[str] | None = []
        self._socket = socket
        self._on_sent = on_sent
        self.on_doubt = on_doubt
        self._window = settings.event_window
        self._ack_secs = settings.event_ack_secs
        self._source: EventSource | None = None
        self._seq = 0
        self._redelivered_to_seq = 0
        self._acknowledges = False
        self._unacknowledged: list[tuple[int, float]] = []
        self._may_send = asyncio.Event()
        self._overdue: asyncio.TimerHandle | None = None
        self._pump: asyncio.Task[None] | None = None

    async def rest(self) -> int:
        """Returns when nothing is being sent, with the number up to which everything was; 0 before the beginning.

        Not by cancelling: whether a frame has left would be unknown.
        """
        source, is_idle = self._source, self._pump is None or self._pump.done()
        if source is not None and is_idle:
            self._seq = max(self._seq, source.newest)
        self._source = None
        self._may_send.set()
        if self._pump is not None:
            await asyncio.wait([self._pump])
        self._forget_unacknowledged()
        return self._seq

    def go_on(self, source: EventSource, after_seq: int, *, repeats: bool) -> None:
        """Starts behind a number, at rest.

        Args:
            source: where to read.
            after_seq: the number behind which the feed starts.
            repeats: whether the watcher named it, and what is older than this moment comes again.
        """
        self._source, self._seq = source, after_seq
        self._redelivered_to_seq = source.newest if repeats else 0
        self._pump = spawn(self._send_all(source), name="event-feed")

    def acknowledge(self, seq: int) -> None:
        """The watcher has everything up to this number; from now on it is held to acknowledging."""
        self._acknowledges = True
        while self._unacknowledged and self._unacknowledged[0][0] <= seq:
            del self._unacknowledged[0]
            metrics.EVENTS_UNACKNOWLEDGED.dec()
        self._may_send.set()

    def expect_acknowledgements(self) -> None:
        """The watcher has said that it will acknowledge."""
        self._acknowledges = True

    def wake(self, before_seq: int) -> None:
        """There is an event in one of the rooms, and it lies after `before_seq`.

        A feed at rest has been told of everything in its rooms up to there, wherever its own number stands: events of
        other rooms do not move it.
        """
        if self._source is not None and (self._pump is None or self._pump.done()):
            self._seq = max(self._seq, before_seq)
            self._pump = spawn(self._send_all(self._source), name="event-feed")

    async def stop(self) -> None:
        """Ends the sending."""
        self._source = None
        await cancel(self._pump)
        self._forget_unacknowledged()

    async def _send_all(self, source: EventSource) -> None:
        try:
            while self._source is source and self._seq < source.newest:
                for line in await self._next(source):
                    await self._wait_for_window(source)
                    if self._source is not source:
                        return
                    if self._hears(line.room):  # a line before this one may have ended that
                        await self._send(line)
                    self._seq = line.seq
        except Closing as closing:
            self._end(closing.code)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and the socket closed
            _log.exception("A watcher could not be told of an event.")
            self._end(Close.INTERNAL)

    def _end(self, code: Close) -> None:
        """Closes the socket, and tells it nothing more: an event behind one that was not sent would hide the hole."""
        self._source = None
        self._socket.dismiss(code)

    async def _next(self, source: EventSource) -> list[RenderedEvent]:
        """What comes next in the rooms; moves the number on past what concerns others."""
        newest, lines = source.newest, source.lines_after(self._seq)
        if lines is None:
            # The rooms are those of the try at hand: some may have been left meanwhile.
            lines = await retry(
                lambda: source.page(self._seq, self.rooms),
                name="event-page",
                state=RetryState("event-page", Backoff(max_secs=MAX_PAUSE_SECS)),
            )
            if len(lines) == PAGE_ROWS:
                return lines
        mine = [line for line in lines if self._hears(line.room)]
        if not mine:
            self._seq = max(self._seq, newest)
        return mine

    def _hears(self, room: str) -> bool:
        return self.rooms is None or room in self.rooms

    async def _wait_for_window(self, source: EventSource) -> None:
        while self._acknowledges and len(self._unacknowledged) >= self._window and self._source is source:
            metrics.EVENT_WINDOWS_FULL.inc()
            self._may_send.clear()
            await self._may_send.wait()

    async def _send(self, line: RenderedEvent) -> None:
        if self._acknowledges:
            # Before the sending: the acknowledgement may be here before the send has returned.
            self._unacknowledged.append((line.seq, clock.monotonic_secs()))
            metrics.EVENTS_UNACKNOWLEDGED.inc()
            self._watch_for_overdue()
        await self._socket.send(line.frame)
        metrics.EVENTS_DELIVERED.inc()
        metrics.FRAMES.labels("event").inc()
        metrics.FRAME_BYTES.labels("event").inc(len(line.frame))
        if line.seq <= self._redelivered_to_seq:
            metrics.EVENTS_REDELIVERED.inc()
        self._on_sent(line)

    def _watch_for_overdue(self) -> None:
        if self._overdue is None:
            sent_secs = self._unacknowledged[0][1]
            left_secs = max(0.0, sent_secs + self._ack_secs - clock.monotonic_secs())
            self._overdue = asyncio.get_running_loop().call_later(left_secs, self._check_overdue)

    def _check_overdue(self) -> None:
        self._overdue = None
        if not self._unacknowledged:
            return
        if clock.monotonic_secs() - self._unacknowledged[0][1] >= self._ack_secs:
            self._socket.dismiss(Close.SLOW)
        else:
            self._watch_for_overdue()

    def _forget_unacknowledged(self) -> None:
        metrics.EVENTS_UNACKNOWLEDGED.dec(len(self._unacknowledged))
        self._unacknowledged.clear()
        self._may_send.set()
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
