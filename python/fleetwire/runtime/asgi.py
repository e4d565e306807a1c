"""The little that our own ASGI callables share: headers, bodies with a bound, answers.

The hot routes stand in front of the framework (docs/adr/0005); what they answer looks like every other answer.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

from fleetwire.errors import BatchError, Problem
from fleetwire.runtime import clock, problem
from fleetwire.runtime.coarse_timeout import CoarseTimeout

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
VEILED_SLASH = b"\x1f"  # no name has a control character
Headers = list[tuple[bytes, bytes]]

SAFE_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"),
    (b"server", b"fleetwire"),  # instead of the server's underneath
]
"""On every answer, so that a browser makes nothing of it but what it is; a page brings a policy of its own."""

AT_END_KEY: Final = "fleetwire.at_end"
"""In a raw scope: what to call when the exchange has ended, however it did."""

MAX_LENGTH_DIGITS = 16  # a longer content-length is no length that could be sent


class ClientGone(Exception):  # noqa: N818 - not an error: nobody is left to answer
    """The client closed the connection before its body was whole."""


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name (lower case), or an empty text."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def first_headers(scope: Scope) -> dict[bytes, bytes]:
    """Headers by name (lower case), the first of each: for who asks for several."""
    return dict(reversed(scope["headers"]))


def joined_headers(scope: Scope) -> dict[bytes, bytes]:
    """Headers by name (lower case), those of one name as one list, as RFC 9110, 5.3 has it."""
    joined: dict[bytes, bytes] = dict(scope["headers"])
    if len(joined) != len(scope["headers"]):
        joined.clear()
        for name, value in scope["headers"]:
            joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


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


async def read_body(receive: Receive, *, announced: bytes, limit_bytes: int, timeout_secs: float) -> bytes:
    """The whole request body; `announced` is what the Content-Length says.

    Stops at that length: the server follows every body with an empty part that says it was the last.

    Raises:
        BatchError: `body_too_large`, as soon as the bound is passed.
        Problem: 408 `body_timeout`; a sender that trickles must not hold a stop back.
        ClientGone: the client went away.
    """
    expected_bytes = int(announced) if announced.isdigit() and len(announced) < MAX_LENGTH_DIGITS else None
    parts: list[bytes] = []
    size_bytes, more = 0, True
    try:
        with CoarseTimeout(timeout_secs):
            while more and size_bytes != expected_bytes:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size_bytes += len(parts[-1])
                if size_bytes > limit_bytes:
                    raise BatchError("body_too_large", f"The body holds more than {limit_bytes} bytes.")
                more = message.get("more_body", False)
    except TimeoutError:
        raise Problem("body_timeout", "The body did not arrive in time.", status=408) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def at_end(scope: Scope, release: Callable[[], None]) -> None:
    """Calls `release` when the exchange has ended, also where its answer was never begun."""
    scope.setdefault(AT_END_KEY, []).append(release)


async def respond(
    send: Send, status: int, body: bytes, *, headers: Iterable[tuple[bytes, bytes]], started_secs: float
) -> None:
    """Sends a whole answer; `started_secs` is the monotonic time at which the request began."""
    head = [*headers, (b"content-length", b"%d" % len(body)), response_time(started_secs)]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def respond_unchanged(send: Send, headers: Headers, *, started_secs: float) -> None:
    """Says that the client has what it asks for: 304, without a body."""
    head = [*headers, response_time(started_secs)]
    await send({"type": "http.response.start", "status": 304, "headers": head})
    await send({"type": "http.response.body", "body": b""})


def response_time(started_secs: float) -> tuple[bytes, bytes]:
    """The header that says how long the answer took from the monotonic time `started_secs`."""
    return b"x-response-time", b"%.1fms" % ((clock.monotonic_secs() - started_secs) * 1000)


async def respond_problem(send: Send, fault: Problem, *, started_secs: float) -> None:
    """Sends a problem answer."""
    headers, body = problem.render(fault)
    await respond(send, fault.status, body, headers=[*headers, *SAFE_HEADERS], started_secs=started_secs)


async def deny(send: Send, fault: Problem, *, started_secs: float) -> None:
    """Answers a WebSocket handshake with a problem instead of an upgrade."""
    headers, body = problem.render(fault)
    head = [*headers, *SAFE_HEADERS, response_time(started_secs)]
    await send({"type": "websocket.http.response.start", "status": fault.status, "headers": head})
    await send({"type": "websocket.http.response.body", "body": body})
