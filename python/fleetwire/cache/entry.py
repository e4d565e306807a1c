"""One kept answer: its bytes plain and, once somebody asks for them, compressed; its headers; its validator."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from fleetwire.cache.encodings import LEAST_BYTES, Encoding, compress, is_text
from fleetwire.runtime.asgi import Headers

OK: Final = 200
# Compressing more than this would hold up the event loop for longer than a few milliseconds: a thread does it.
THREAD_BYTES: Final = 64 * 1024
OVERHEAD_BYTES: Final = 1024
# What of an answer's headers is made anew for each one, or does not fit another.
OWN_HEADERS: Final = frozenset({b"content-length", b"content-encoding", b"etag", b"cache-control", b"vary", b"date"})
VARY: Final = (b"vary", b"accept-encoding, authorization, cookie")
VARY_ENCODING: Final = (b"vary", b"accept-encoding")


class RenderedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What a handler answered, before anything is made of it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def may_be_kept(self) -> bool:
        """A success that gives nobody a cookie."""
        return self.status == OK and all(name != b"set-cookie" for name, _ in self.headers)


class CacheEntry:
    """A kept answer. `version` is the state that it shows, where its rule has one."""

    __slots__ = (
        "_compressing",
        "_heads",
        "_is_text",
        "_kept",
        "answer",
        "etag",
        "fresh_until_millis",
        "stale_until_millis",
        "version",
    )

    def __init__(
        self,
        answer: RenderedAnswer,
        *,
        cache_control: str,
        is_public: bool,
        version: str | None,
        fresh_until_millis: int,
        stale_until_millis: int,
    ) -> None:
        """Times are those of the monotonic clock."""
        self.answer = answer
        self.version = version
        self.fresh_until_millis = fresh_until_millis
        self.stale_until_millis = stale_until_millis
        self.etag = etag_of(answer.body, version)
        self._is_text = any(name == b"content-type" and is_text(value) for name, value in answer.headers)
        self._kept: dict[Encoding, bytes] = {"identity": answer.body}
        self._compressing: dict[Encoding, asyncio.Future[bytes]] = {}
        vary = VARY_ENCODING if is_public else VARY
        own = [(b"etag", self.etag), (b"cache-control", cache_control.encode()), vary]
        self._heads: dict[Encoding, Headers] = {"identity": [*_others(answer.headers), *own]}

    @property
    def size_bytes(self) -> int:
        """What it counts in memory: its compressed forms take at most as much again as the plain one."""
        return 2 * len(self.answer.body) + OVERHEAD_BYTES

    @property
    def unchanged_head(self) -> Headers:
        """Headers of a 304."""
        return [pair for pair in self._heads["identity"] if pair[0] in {b"etag", b"cache-control", b"vary"}]

    def usable(self, encoding: Encoding, *, plain_is_fine: bool) -> Encoding:
        """The encoding to send: a small or incompressible body stays plain, if the client takes that."""
        wanted = self._is_text and len(self.answer.body) >= LEAST_BYTES
        return encoding if wanted or not plain_is_fine else "identity"

    def ready(self, encoding: Encoding) -> tuple[Headers, bytes] | None:
        """Headers and body in an encoding, if they were made before."""
        body = self._kept.get(encoding)
        return None if body is None else (self._heads[encoding], body)

    async def prepare(self, encoding: Encoding) -> tuple[Headers, bytes]:
        """Headers and body in an encoding; compressed once, however many ask at the same time."""
        plain = self.answer.body
        if len(plain) <= THREAD_BYTES:
            return self._keep(encoding, compress(plain, encoding))
        under_way = self._compressing.get(encoding)
        if under_way is None:
            under_way = asyncio.ensure_future(asyncio.to_thread(compress, plain, encoding))
            self._compressing[encoding] = under_way
        try:
            return self._keep(encoding, await asyncio.shield(under_way))
        finally:
            if under_way.done():
                self._compressing.pop(encoding, None)

    def _keep(self, encoding: Encoding, body: bytes) -> tuple[Headers, bytes]:
        if encoding not in self._kept:
            self._heads[encoding] = [*self._heads["identity"], (b"content-encoding", encoding.encode())]
            self._kept[encoding] = body
        return self._heads[encoding], self._kept[encoding]


def etag_of(body: bytes, version: str | None) -> bytes:
    """Weak, since the same answer is sent in several encodings."""
    return b'W/"%b"' % (version or hashlib.blake2b(body, digest_size=12).hexdigest()).encode()


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Whether a client has what it asks for, compared weakly (RFC 9110, 13.1.2)."""
    if if_none_match == etag:
        return True
    opaque = etag.removeprefix(b"W/")
    return any(each.strip().removeprefix(b"W/") in {opaque, b"*"} for each in if_none_match.split(b","))


def _others(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name, value) for name, value in headers if name not in OWN_HEADERS]
