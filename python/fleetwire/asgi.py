"""The little that our own ASGI callables share: headers, bodies with a bound, answers.

The hot routes stand in front of the framework (docs/adr/0005); what they answer looks like every other answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote

from fleetwire import clock, problem
from fleetwire.errors import BatchError, Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
VEILED_SLASH = b"\x1f"  # no name has a control character
Headers = list[tuple[bytes, bytes]]


class ClientGone(Exception):  # noqa: N818 - not an error: nobody is left to answer
    """The client closed the connection before its body was whole."""


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name (lower case), or an empty text."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def veil_slashes(scope: Scope) -> None:
    """Keeps a slash that a client encoded apart from those between the parts of a path; `unveil` brings it back.

    The server hands over a path in which both look alike, and the device `fleet/van` would have no address.
    """
    raw_path: bytes = scope.get("raw_path") or b""
    if b"%2f" in raw_path.lower():
        scope["path"] = unquote(raw_path.replace(b"%2f", VEILED_SLASH).replace(b"%2F", VEILED_SLASH).decode("latin-1"))


def unveil(text: str) -> str:
    """A part of a path as the client meant it."""
    return text.replace(VEILED_SLASH.decode(), "/")


async def read_body(receive: Receive, *, limit_bytes: int, timeout_secs: float) -> bytes:
    """The whole request body.

    Raises:
        BatchError: `body_too_large`, as soon as the bound is passed.
        Problem: 408 `body_timeout`; a sender that trickles must not hold a stop back.
        ClientGone: the client went away.
    """
    try:
        async with asyncio.timeout(timeout_secs):
            message = await _next_part(receive)
            body: bytes = message.get("body", b"")
            if message.get("more_body"):
                parts = bytearray(body)
                while message.get("more_body"):
                    message = await _next_part(receive)
                    parts += message.get("body", b"")
                    _check_size(len(parts), limit_bytes)
                body = bytes(parts)
    except TimeoutError:
        raise Problem("body_timeout", "The body did not arrive in time.", status=408) from None
    _check_size(len(body), limit_bytes)
    return body


async def _next_part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise BatchError("body_too_large", f"The body holds more than {limit_bytes} bytes.")


async def respond(
    send: Send, status: int, body: bytes, *, headers: Iterable[tuple[bytes, bytes]], started_secs: float
) -> None:
    """Sends a whole answer; `started_secs` is the monotonic time at which the request began."""
    head = [*headers, (b"content-length", b"%d" % len(body)), _response_time(started_secs)]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def timed(send: Send) -> Send:
    """A `send` that adds X-Response-Time to the answer's headers, counted from now."""
    started_secs = clock.monotonic_secs()

    async def send_timed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), _response_time(started_secs)]
        await send(message)

    return send_timed


def _response_time(started_secs: float) -> tuple[bytes, bytes]:
    return b"x-response-time", b"%.1fms" % ((clock.monotonic_secs() - started_secs) * 1000)


async def respond_problem(send: Send, fault: Problem, *, started_secs: float) -> None:
    """Sends a problem answer."""
    headers, body = problem.render(fault)
    await respond(send, fault.status, body, headers=headers, started_secs=started_secs)


async def deny(send: Send, fault: Problem) -> None:
    """Answers a WebSocket handshake with a problem instead of an upgrade."""
    headers, body = problem.render(fault)
    await send({"type": "websocket.http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
