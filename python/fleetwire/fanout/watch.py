"""`/ws/dispatch`: a dispatcher's feed. A snapshot first, then what moved, at most once a tick."""

import asyncio

import msgspec

from fleetwire import asgi
from fleetwire.access.limits import Limits
from fleetwire.errors import Problem
from fleetwire.fanout.hub import Hub
from fleetwire.fanout.outbox import Outbox, Request, Watch
from fleetwire.fanout.sockets import Closing, Message, Socket, Sockets
from fleetwire.live.state import Live
from fleetwire.settings import Settings
from fleetwire.tasks import cancel, spawn

PATH = "/ws/dispatch"

_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


class DispatchSocket:
    """The route as an ASGI callable in front of the framework."""

    def __init__(self, *, hub: Hub, live: Live, limits: Limits, sockets: Sockets, settings: Settings) -> None:
        self._hub = hub
        self._live = live
        self._limits = limits
        self._sockets = sockets
        self._settings = settings

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serves one watcher from handshake to close."""
        await self._sockets.serve("dispatch", "watch", self._converse, (scope, receive, send))

    async def _converse(self, socket: Socket) -> None:
        """Reads the client's wishes while another task feeds it: without a reader, pings go unanswered."""
        outbox = Outbox(self._live, socket.principal.tenant_id, heartbeat_secs=self._settings.feed_heartbeat_secs)
        self._hub.add(outbox)
        feeding = spawn(self._feed(socket, outbox), name="feed")
        silence = asyncio.get_running_loop().call_later(
            self._settings.feed_first_message_secs, outbox.ask_unless_spoken
        )
        try:
            while True:
                message = await socket.receive()
                outbox.has_spoken = True
                try:
                    self._limits.message(socket.principal)
                    outbox.ask(_understood(message))
                except Problem as problem:
                    await socket.send(msgspec.json.encode({"type": "error", **problem.members()}))
        finally:
            silence.cancel()
            self._hub.remove(outbox)
            await cancel(feeding)

    async def _feed(self, socket: Socket, outbox: Outbox) -> None:
        try:
            while True:
                for frame in await outbox.next_frames():
                    await socket.send(frame)
        except Closing as closing:
            socket.dismiss(closing.code)


def _understood(message: Message) -> Request:
    try:
        request = _REQUESTS.decode(message.data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem("message_invalid", f"Not a watch or resume message: {error}.", status=400) from error
    if isinstance(request, Watch) and request.is_filtered:
        raise Problem("watch_unsupported", "Only the whole tenant can be watched so far.", status=400)
    return request
