"""Time limits at the edge of every HTTP exchange but a batch: for its whole body, and for each piece of its answer.

The server underneath has a limit for the head of a request alone. A route that reads its body by itself has no need to
think of this: what it awaits ends with 408. A client that does not read its answer is given up between two pieces;
what the system holds for it goes by TCP_USER_TIMEOUT (server/serve.py).
"""

from typing import Final

from fleetwire.errors import Problem
from fleetwire.runtime import asgi, clock
from fleetwire.runtime.coarse_timeout import CoarseTimeout
from fleetwire.telemetry import metrics

PIECE_BYTES: Final = 256 * 1024
"""A longer answer is sent in pieces of this length: the server takes a piece when the one before has gone."""


class SlowReader(Exception):  # noqa: N818 - a way out of an exchange, not an error
    """The client did not take a piece of its answer in time."""


class BodyDeadline:
    """The `receive` of a request whose body has to arrive within a time."""

    def __init__(self, receive: asgi.Receive, timeout_secs: float) -> None:
        self._receive = receive
        self._due_secs = clock.monotonic_secs() + timeout_secs
        self._is_whole = False

    async def receive(self) -> asgi.AsgiMessage:
        """Receives the next part; without a limit after the last one, when only the client's end can come.

        Raises:
            Problem: 408 `body_timeout`.
        """
        if self._is_whole:
            return await self._receive()
        try:
            with CoarseTimeout(self._due_secs - clock.monotonic_secs()):
                message = await self._receive()
        except TimeoutError:
            raise body_timeout() from None
        self._is_whole = not message.get("more_body", False)
        return message


def with_body_deadline(scope: asgi.Scope, receive: asgi.Receive, timeout_secs: float) -> asgi.Receive:
    """Returns `receive` with a deadline where the request announces a body, and as it is otherwise."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return BodyDeadline(receive, timeout_secs).receive
    return receive


def body_timeout() -> Problem:
    """The answer to a sender that trickles its body."""
    return Problem("body_timeout", "The body did not arrive in time.", status=408)


def is_long(message: asgi.AsgiMessage) -> bool:
    """Whether a body goes to the server in pieces; a shorter one is taken by it at once, and whole."""
    return bool(message.get("more_body")) or len(message.get("body", b"")) > PIECE_BYTES


class PieceDeadline:
    """Sends the body of a long answer in pieces, each of which has to be taken within a time."""

    def __init__(self, send: asgi.Send, timeout_secs: float) -> None:
        self._send = send
        self._timeout_secs = timeout_secs
        self.has_expired = False

    async def send(self, message: asgi.AsgiMessage) -> None:
        """Sends a part of the body.

        Raises:
            SlowReader: the client did not take it in time, or an earlier one.
        """
        if self.has_expired:
            raise SlowReader
        body, start = message.get("body", b""), 0
        try:
            with CoarseTimeout(self._timeout_secs) as limit:
                while len(body) - start > PIECE_BYTES:
                    piece = body[start : start + PIECE_BYTES]
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                    start += PIECE_BYTES
                    limit.renew()
                rest = body[start:] if start else body
                more = message.get("more_body", False)
                await self._send({"type": "http.response.body", "body": rest, "more_body": more})
        except TimeoutError:
            self.has_expired = True
            metrics.SLOW_READERS.inc()
            raise SlowReader from None
