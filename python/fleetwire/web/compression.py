"""Compresses what the framework answers to a GET, as the client takes it; streams as they go.

Only answers to GET, and none that sets a cookie: the answer to a login holds a secret beside what its sender chose, and
its compressed length would tell something of the secret. What the cache keeps is compressed there, once.
"""

from typing import Final

from fleetwire.cache.cache_middleware import unacceptable
from fleetwire.cache.encodings import COMPRESSORS, LEAST_BYTES, Compressor, Encoding, compress, is_text, negotiate
from fleetwire.runtime import asgi
from fleetwire.runtime.clock import monotonic_secs

# A reader sees the first piece at once, and from then on what has come when so much has: each time costs a few bytes.
DUE_BYTES: Final = 32 * 1024
_BODILESS: Final = frozenset({204, 304})


def compressing(inner: asgi.App) -> asgi.App:
    """`inner` with compressed answers."""

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await inner(scope, receive, send)
            return
        encoding, plain_is_fine = negotiate(asgi.joined_headers(scope).get(b"accept-encoding"))
        if encoding is None:
            await asgi.respond_problem(send, unacceptable(), started_secs=monotonic_secs())
            return
        await inner(scope, receive, _Sender(send, encoding, plain_is_fine=plain_is_fine))

    return app


class _Sender:
    """A `send` that compresses. The head is held back until the first piece shows how long the body is."""

    def __init__(self, send: asgi.Send, encoding: Encoding, *, plain_is_fine: bool) -> None:
        self._send = send
        self._encoding = encoding
        self._plain_is_fine = plain_is_fine
        self._head: asgi.AsgiMessage | None = None
        self._compressor: Compressor | None = None
        self._since_due_bytes = DUE_BYTES

    async def __call__(self, message: asgi.AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            self._head = message
        elif message["type"] == "http.response.body" and self._head is not None:
            head, self._head = self._head, None
            await self._first(head, message)
        elif message["type"] == "http.response.body" and self._compressor is not None:
            await self._next(self._compressor, message)
        else:
            await self._send(message)

    async def _first(self, head: asgi.AsgiMessage, message: asgi.AsgiMessage) -> None:
        headers: asgi.Headers = [(bytes(name).lower(), bytes(value)) for name, value in head.get("headers", ())]
        body, is_whole = bytes(message.get("body", b"")), not message.get("more_body", False)
        if not self._is_worth_it(head["status"], headers, len(body), is_whole=is_whole):
            await self._send({**head, "headers": _varying(headers)})
            await self._send(message)
            return
        headers = [pair for pair in _varying(headers) if pair[0] != b"content-length"]
        headers = [(name, _weak(value) if name == b"etag" else value) for name, value in headers]
        headers.append((b"content-encoding", self._encoding.encode()))
        if is_whole:
            body = compress(body, self._encoding)
            await self._send({**head, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
            await self._send({"type": "http.response.body", "body": body})
            return
        self._compressor = COMPRESSORS[self._encoding]()
        await self._send({**head, "headers": headers})
        await self._next(self._compressor, message)

    async def _next(self, compressor: Compressor, message: asgi.AsgiMessage) -> None:
        piece, more = bytes(message.get("body", b"")), message.get("more_body", False)
        self._since_due_bytes += len(piece)
        is_due = bool(piece) and more and self._since_due_bytes >= DUE_BYTES
        if is_due:
            self._since_due_bytes = 0
        done = compressor.feed(piece, is_due=is_due) if piece else b""
        if not more:
            done += compressor.finish()
        if done or not more:
            await self._send({"type": "http.response.body", "body": done, "more_body": more})

    def _is_worth_it(self, status: int, headers: asgi.Headers, size_bytes: int, *, is_whole: bool) -> bool:
        found = dict(headers)
        if self._encoding == "identity" or status in _BODILESS or b"content-encoding" in found:
            return False
        if b"set-cookie" in found:
            return False
        if not self._plain_is_fine:
            return True
        return is_text(found.get(b"content-type", b"")) and (size_bytes >= LEAST_BYTES or not is_whole)


def _varying(headers: asgi.Headers) -> asgi.Headers:
    """With `Vary`, also where the plain body is sent: a cache must not hand it to those who take another."""
    if not any(name == b"content-type" and is_text(value) for name, value in headers):
        return headers
    vary = [value for name, value in headers if name == b"vary"]
    kept = [pair for pair in headers if pair[0] != b"vary"]
    return [*kept, (b"vary", b", ".join([*vary, b"accept-encoding"]))]


def _weak(etag: bytes) -> bytes:
    return etag if etag.startswith(b"W/") else b"W/" + etag
