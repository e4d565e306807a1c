"""All WebSockets of this worker: how many there may be, sends that cannot hang, and a goodbye to everyone at a stop."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Literal, NamedTuple

import structlog

from fleetwire import asgi, metrics
from fleetwire.access.guards import authenticate
from fleetwire.access.principal import Permission, Principal
from fleetwire.access.tokens import Credentials
from fleetwire.errors import Overloaded, Problem
from fleetwire.fanout.close_codes import Close
from fleetwire.settings import Settings
from fleetwire.timelimit import TimeLimit

_log = structlog.get_logger(__name__)

Kind = Literal["driver", "dispatch"]
CLOSE_SECS = 2.0  # a peer that reads nothing blocks the close frame as well


class Closing(Exception):  # noqa: N818 - a way out of a conversation, not an error
    """The socket shall be closed with a code."""

    def __init__(self, code: Close) -> None:
        super().__init__(code)
        self.code = code


class Gone(Exception):  # noqa: N818
    """The peer closed the socket."""


class Message(NamedTuple):
    """One message of the peer; text as UTF-8."""

    data: bytes
    is_text: bool


class Socket:
    """One accepted WebSocket. Sends are bounded in time."""

    def __init__(
        self, kind: Kind, principal: Principal, receive: asgi.Receive, send: asgi.Send, settings: Settings
    ) -> None:
        self.kind: Kind = kind
        self.principal = principal
        self._receive = receive
        self._send = send
        self._send_secs = settings.feed_send_secs
        self._message_bytes = settings.socket_message_bytes
        self.subprotocol: str | None = None
        """What the handshake agrees on; to be set before it."""
        self.handler = asyncio.current_task()
        self.goodbye: Close | None = None

    async def accept(self) -> None:
        """Completes the handshake."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept", "subprotocol": self.subprotocol})

    async def receive(self) -> Message:
        """The next message.

        Raises:
            Gone: the peer closed.
            Closing: the message is over the size limit.
        """
        event = await self._receive()
        if event["type"] != "websocket.receive":
            raise Gone
        text = event.get("text")
        message = Message(event["bytes"], is_text=False) if text is None else Message(text.encode(), is_text=True)
        if len(message.data) > self._message_bytes:
            raise Closing(Close.MESSAGE_TOO_BIG)
        return message

    async def send(self, frame: bytes) -> None:
        """Sends text that is UTF-8 already.

        Raises:
            Closing: the peer did not take it within the time limit.
        """
        await self.send_message(str(frame, "utf-8"))

    async def send_message(self, message: str | bytes) -> None:
        """Sends a text message, or a binary one.

        Raises:
            Closing: the peer did not take it within the time limit.
        """
        kind = "text" if isinstance(message, str) else "bytes"
        try:
            # The server sends one message after another; a lock of ours would wait for the same.
            with TimeLimit(self._send_secs):
                await self._send({"type": "websocket.send", kind: message})
        except TimeoutError:
            raise Closing(Close.SLOW) from None

    async def close(self, code: Close) -> None:
        """Says why, and waits only a moment for a peer that does not read."""
        metrics.CLOSES.labels(str(code.value)).inc()
        try:
            with TimeLimit(CLOSE_SECS):
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

    def __init__(self, credentials: Credentials, settings: Settings) -> None:
        self._credentials = credentials
        self._settings = settings
        self._open: dict[Kind, set[Socket]] = {"driver": set(), "dispatch": set()}
        self._stopping = False

    async def serve(
        self,
        kind: Kind,
        permission: Permission,
        conversation: Callable[[Socket], Coroutine[Any, Any, None]],
        connection: tuple[asgi.Scope, asgi.Receive, asgi.Send],
        *,
        subprotocols: Collection[str] = (),
    ) -> None:
        """Serves one connection from handshake to close; one that may not pass is answered with a problem.

        Of the subprotocols that the client offers, the first one among `subprotocols` is agreed on.
        """
        scope, receive, send = connection
        try:
            principal = await authenticate(scope, self._credentials)
            principal.require(permission)
            self._check_room()
        except Problem as problem:
            await asgi.deny(send, problem)
            return
        socket = Socket(kind, principal, receive, send, self._settings)
        socket.subprotocol = next((offer for offer in scope["subprotocols"] if offer in subprotocols), None)
        # Before the next await: a revocation in between would go unheard.
        unfollow = self._credentials.follow(principal, lambda _: socket.dismiss(Close.UNAUTHORIZED))
        self._count(socket, present=True)
        try:
            await self._converse(socket, conversation)
        finally:
            unfollow()
            self._count(socket, present=False)

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

    def _check_room(self) -> None:
        if self._stopping:
            raise Overloaded("stopping", "The server is stopping; connect again.", retry_after_secs=2)
        if len(self) >= self._settings.max_sockets:
            raise Overloaded("sockets_full", "This worker holds as many sockets as it may.", retry_after_secs=30)

    def __len__(self) -> int:
        return sum(self.counts().values())

    def counts(self) -> dict[str, int]:
        """Open sockets by kind."""
        return {kind: len(sockets) for kind, sockets in self._open.items()}

    async def goodbye(self, *, within_secs: float) -> None:
        """Tells every socket that the server restarts and waits until they are closed, or the time is over."""
        self._stopping = True
        sockets = self._all()
        for socket in sockets:
            socket.dismiss(Close.RESTART)
        if handlers := [socket.handler for socket in sockets if socket.handler is not None]:
            await asyncio.wait(handlers, timeout=within_secs)

    def _all(self) -> list[Socket]:
        return [socket for sockets in self._open.values() for socket in sockets]

    def _count(self, socket: Socket, *, present: bool) -> None:
        sockets = self._open[socket.kind]
        (sockets.add if present else sockets.discard)(socket)
        metrics.SOCKETS.labels(socket.kind).set(len(sockets))
