"""`/ws/dispatch`: a dispatcher's feed. A snapshot first, then what moved, at most once a tick."""

import asyncio

import msgspec
import structlog

from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.errors import Problem
from fleetwire.fanout.events.event_hub import EventHub
from fleetwire.fanout.events.event_messages import Failure
from fleetwire.fanout.events.event_session import EventSession
from fleetwire.fanout.feed.feed_cursor import FeedCursor
from fleetwire.fanout.feed.hub import Hub
from fleetwire.fanout.sockets.close_codes import Close
from fleetwire.fanout.sockets.sockets import Closing, Socket, Sockets
from fleetwire.live.state import Format, Live
from fleetwire.live.subscription import read_wish
from fleetwire.runtime import asgi
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.settings import Settings

_log = structlog.get_logger(__name__)

PATH = "/ws/dispatch"
SUBPROTOCOLS: dict[str, Format] = {
    "fleetwire.v1.json": "json",
    "fleetwire.v1.rows": "rows",
    "fleetwire.v1.protobuf": "protobuf",
}
"""How positions are written; without a subprotocol as JSON. All else is the same JSON in each."""


class DispatchSocket:
    """The route as an ASGI callable in front of the framework."""

    def __init__(
        self, *, hub: Hub, events: EventHub, live: Live, limits: RateLimiter, sockets: Sockets, settings: Settings
    ) -> None:
        self._hub = hub
        self._events = events
        self._live = live
        self._limits = limits
        self._sockets = sockets
        self._settings = settings

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serves one watcher from handshake to close."""
        await self._sockets.serve(
            "dispatch", "watch", self._converse, (scope, receive, send), subprotocols=SUBPROTOCOLS
        )

    async def _converse(self, socket: Socket) -> None:
        """Reads the client's wishes while another task feeds it: without a reader, pings go unanswered."""
        form = SUBPROTOCOLS.get(socket.subprotocol or "", "json")
        outbox = FeedCursor(self._live, socket.principal.tenant_id, form=form, turns=self._hub.turns)
        self._hub.add(outbox)
        talk = EventSession(self._events, socket, self._limits, self._settings)
        talk.start()
        feeding = spawn(self._feed(socket, outbox), name="feed")
        silence = asyncio.get_running_loop().call_later(
            self._settings.feed_first_message_secs, outbox.ask_unless_spoken
        )
        try:
            while True:
                message = await socket.receive()
                if await talk.takes(message):
                    continue
                outbox.has_spoken = True
                try:
                    self._limits.message(socket.principal)
                    outbox.ask(*read_wish(message.data))
                except Problem as problem:
                    await socket.send(msgspec.json.encode(Failure.of(problem)))
        finally:
            silence.cancel()
            self._hub.remove(outbox)
            await talk.stop()
            await cancel(feeding)
            outbox.close()

    async def _feed(self, socket: Socket, outbox: FeedCursor) -> None:
        try:
            while True:
                await socket.send_messages(await outbox.next_messages())
                if outbox.has_told_movement:
                    self._hub.delay.sent()
        except Closing as closing:
            socket.dismiss(closing.code)
        except Exception:  # noqa: BLE001 - an open socket that is told nothing any more looks like a fleet at rest
            _log.exception("A watcher could not be fed.")
            socket.dismiss(Close.INTERNAL)
