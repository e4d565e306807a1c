"""All WebSockets of this worker: their bounds, sends that cannot hang, and a close to everyone at a stop."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import structlog

from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.access.identity.guards import authenticate
from fleetwire.access.identity.principal import Permission, Principal
from fleetwire.errors import Overloaded, Problem
from fleetwire.fanout.events.event_messages import Authenticated, Failure
from fleetwire.fanout.sockets.close_codes import Close, Closing
from fleetwire.fanout.sockets.first_message_auth import introduce
from fleetwire.fanout.sockets.heartbeat import beat_next, is_heartbeat
from fleetwire.fanout.sockets.message_rate import MessageRate
from fleetwire.fanout.sockets.socket_places import SocketPlaces
from fleetwire.runtime import asgi, clock, supervisor
from fleetwire.runtime.coarse_timeout import CoarseTimeout
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)

__all__ = ["Closing", "Gone", "Socket", "SocketKind", "SocketMessage", "Sockets"]

SocketKind = Literal["driver", "dispatch"]
Leave = Callable[[], None]
CLOSE_SECS = 2.0  # a peer that reads nothing blocks the close frame as well
SPREAD_SHARE = 0.6  # of the time for a stop; the rest is for the last ones to close
SPREAD_STEP_SECS = 0.05
TOO_MANY = msgspec.json.encode(
    Failure(429, "message_rate", "The socket sends too many messages; this one was not read.", retry_after_secs=1)
)


class Gone(Exception):  # noqa: N818 - a way out of a conversation, not an error
    """The peer closed the socket."""


class SocketMessage(NamedTuple):
    """One message of the peer; text as UTF-8."""

    data: bytes
    is_text: bool


class Socket:
    """One accepted WebSocket. Sends are bounded in time."""

    principal: Principal
    """Exists before the conversation begins."""

    def __init__(self, kind: SocketKind, receive: asgi.Receive, send: asgi.Send, settings: Settings) -> None:
        self.kind: SocketKind = kind
        self._receive = receive
        self._send = send
        self._send_secs = settings.feed_send_secs
        self._message_bytes = settings.socket_message_bytes
        self.subprotocol: str | None = None
        """What the handshake agrees on; to be set before it."""
        self._pace = MessageRate(settings)
        self.heard_secs = clock.monotonic_secs()
        """When the peer last said anything."""
        self.asked_secs = self.heard_secs
        """When it was last sent a heartbeat."""
        self.answers = False
        """Whether the peer has said that it answers heartbeats."""
        self.handler = asyncio.current_task()
        self.goodbye: Close | None = None

    @property
    def protocol(self) -> str:
        """How its frames are written, for the figures."""
        return "json" if self.subprotocol is None else self.subprotocol.rpartition(".")[2]

    async def accept(self) -> None:
        """Completes the handshake."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept", "subprotocol": self.subprotocol})

    async def receive(self) -> SocketMessage:
        """The next message that is not about the socket itself. One above the rate is refused here, unread.

        Raises:
            Gone: the peer closed.
            Closing: a message is over the size limit, or too many are over the rate.
        """
        while True:
            message = await self._next()
            self.heard_secs = clock.monotonic_secs()
            if not self._pace.admits(self.heard_secs):
                metrics.SOCKET_RATE_REFUSED.inc()
                if self._pace.is_exhausted:
                    raise Closing(Close.RATE)
                await self.send(TOO_MANY)
            elif is_heartbeat(message.data):
                self.answers = True
            else:
                return message

    async def _next(self) -> SocketMessage:
        event = await self._receive()
        if event["type"] != "websocket.receive":
            raise Gone
        text = event.get("text")
        message = (
            SocketMessage(event["bytes"], is_text=False) if text is None else SocketMessage(text.encode(), is_text=True)
        )
        if len(message.data) > self._message_bytes:
            raise Closing(Close.MESSAGE_TOO_BIG)
        return message

    async def send(self, frame: bytes) -> None:
        """Sends text that is UTF-8 already.

        Raises:
            Closing: the peer did not take it within the time limit.
        """
        await self.send_messages((str(frame, "utf-8"),))

    async def send_messages(self, messages: Sequence[str | bytes]) -> None:
        """Sends text messages, or binary ones, in their order.

        Raises:
            Closing: the peer did not take one within the time limit.
        """
        try:
            # The server sends one message after another; a lock of ours would wait for the same.
            with CoarseTimeout(self._send_secs) as limit:
                for message in messages:
                    kind = "text" if isinstance(message, str) else "bytes"
                    await self._send({"type": "websocket.send", kind: message})
                    limit.renew()
        except TimeoutError:
            raise Closing(Close.SLOW) from None

    async def close(self, code: Close) -> None:
        """Says why, and waits only a moment for a peer that does not read."""
        metrics.CLOSES.labels(str(code.value)).inc()
        try:
            with CoarseTimeout(CLOSE_SECS):
                await self._send({"type": "websocket.close", "code": int(code), "reason": code.name.lower()})
        except TimeoutError:
            return  # The handler returns next, and the server cuts the connection.

    def dismiss(self, code: Close) -> None:
        """Ends the conversation from outside; the socket is closed with `code`."""
        if self.goodbye is None and self.handler is not None:
            self.goodbye = code
            self.handler.cancel()


class Sockets:
    """The open sockets of this worker."""

    def __init__(self, credentials: Authenticator, settings: Settings) -> None:
        self._credentials = credentials
        self._settings = settings
        self._open: dict[SocketKind, set[Socket]] = {"driver": set(), "dispatch": set()}
        self._places = SocketPlaces(settings)
        self._stopping = False
        self._pulse: SupervisedTask | None = None

    def start(self) -> None:
        """Begins to send heartbeats and to look for peers that are gone."""
        self._pulse = supervise(lambda: beat_next(self.all, self._settings.feed_heartbeat_secs), name="socket-pulse")

    async def stop(self) -> None:
        """Ends that."""
        await supervisor.stop(self._pulse)

    async def serve(
        self,
        kind: SocketKind,
        permission: Permission,
        conversation: Callable[[Socket], Coroutine[Any, Any, None]],
        connection: tuple[asgi.Scope, asgi.Receive, asgi.Send],
        *,
        subprotocols: Collection[str] = (),
    ) -> None:
        """Serves one connection from handshake to close; one that may not pass is answered with a problem.

        Of the subprotocols that the client offers, the first one among `subprotocols` is agreed on.
        """
        started_secs = clock.monotonic_secs()
        scope, receive, send = connection
        socket = Socket(kind, receive, send, self._settings)
        # Not an ExitStack: it takes two kilobytes of every socket.
        leaving: list[Leave] = []
        try:
            try:
                principal = await self._admit(scope, permission, leaving)
            except Problem as problem:
                await asgi.deny(send, problem, started_secs=started_secs)
                return
            socket.subprotocol = next((offer for offer in scope["subprotocols"] if offer in subprotocols), None)

            async def introduced(socket: Socket) -> None:
                if principal is None:
                    await self._introduce(socket, permission, leaving)
                await conversation(socket)

            # Before the next await: a revocation in between would go unheard.
            if principal is not None:
                self._follow(socket, principal, leaving)
            self._count(socket, present=True)
            await self._converse(socket, introduced)
        finally:
            self._count(socket, present=False)
            for leave in leaving:
                leave()

    async def _admit(self, scope: asgi.Scope, permission: Permission, leaving: list[Leave]) -> Principal | None:
        """Takes the places of a socket and finds its credential; None where that comes later.

        Each place is taken before the next await: checked now and taken later, it would be given to many.

        Raises:
            Problem: it may not pass; what stands in `leaving` is to be called all the same.
        """
        if self._stopping:
            raise Overloaded("stopping", "The server is stopping; connect again.", retry_after_secs=2)
        leaving.append(self._places.take())
        principal = await self._known(scope, leaving)
        if principal is not None:
            principal.require(permission)
            leaving.append(self._places.take_for(principal))
        return principal

    async def _known(self, scope: asgi.Scope, leaving: list[Leave]) -> Principal | None:
        """Whose credential the handshake carries; None without one, if there is room for one that sends it later."""
        try:
            return await authenticate(scope, self._credentials)
        except Problem as problem:
            if problem.code != "token_missing" or (leave := self._places.take_unauthenticated()) is None:
                raise
            leaving.append(leave)
            return None

    async def _introduce(self, socket: Socket, permission: Permission, leaving: list[Leave]) -> None:
        """Waits for the credential of a socket that was opened without one.

        Raises:
            Closing: none came in time, or it does not open this door; the reason was sent as an error.
        """
        principal = await introduce(socket, permission, self._credentials, self._settings.socket_auth_secs)
        leave_unauthenticated = leaving.pop()
        leave_unauthenticated()
        try:
            leaving.append(self._places.take_for(principal))
        except Problem as problem:
            await socket.send(msgspec.json.encode(Failure.of(problem)))
            raise Closing(Close.RATE) from problem
        self._follow(socket, principal, leaving)
        await socket.send(msgspec.json.encode(Authenticated(principal.expires_at_millis)))

    def _follow(self, socket: Socket, principal: Principal, leaving: list[Leave]) -> None:
        socket.principal = principal
        leaving.append(self._credentials.follow(principal, lambda _: socket.dismiss(Close.UNAUTHORIZED)))

    async def _converse(self, socket: Socket, conversation: Callable[[Socket], Coroutine[Any, Any, None]]) -> None:
        """Runs a conversation until it ends, and closes the socket with the code that fits how it ended."""
        try:
            await socket.accept()
            await conversation(socket)
        except Closing as closing:
            await socket.close(closing.code)
        except Gone:
            return
        except asyncio.CancelledError:
            if socket.goodbye is None:
                raise
            await socket.close(socket.goodbye)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and the socket closed
            _log.exception("A socket's conversation failed.", kind=socket.kind)
            await socket.close(Close.INTERNAL)

    def __len__(self) -> int:
        return sum(self.counts().values())

    def counts(self) -> dict[str, int]:
        """Open sockets by kind."""
        return {kind: len(sockets) for kind, sockets in self._open.items()}

    def restart_all(self) -> None:
        """Closes every socket at once, so that its client connects and authenticates again."""
        for socket in self.all():
            socket.dismiss(Close.RESTART)

    async def goodbye(self, *, within_secs: float) -> None:
        """Tells every socket that the server restarts and waits until they are closed, or the time is over.

        Many are told one after the other, so that they come back one after the other.
        """
        self._stopping = True
        stop_at_secs = clock.monotonic_secs() + within_secs
        sockets = self.all()
        spread_secs = min(SPREAD_SHARE * within_secs, len(sockets) / self._settings.stop_sockets_per_sec)
        rounds = max(1, round(spread_secs / SPREAD_STEP_SECS))
        for turn in range(rounds):
            for socket in sockets[turn::rounds]:
                socket.dismiss(Close.RESTART)
            if turn < rounds - 1:
                await asyncio.sleep(spread_secs / rounds)
        if handlers := [socket.handler for socket in sockets if socket.handler is not None]:
            await asyncio.wait(handlers, timeout=max(0.0, stop_at_secs - clock.monotonic_secs()))

    def all(self) -> list[Socket]:
        """The open sockets."""
        return [socket for sockets in self._open.values() for socket in sockets]

    def _count(self, socket: Socket, *, present: bool) -> None:
        sockets = self._open[socket.kind]
        (sockets.add if present else sockets.discard)(socket)
        metrics.SOCKETS.labels(socket.kind).set(len(sockets))
