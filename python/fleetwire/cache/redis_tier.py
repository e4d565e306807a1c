"""The second level: answers in Redis or Valkey, where every worker finds what one has made.

    <prefix>:{cache}:e:<hash of the key>   an answer, with the versions that its tags had before it was made
    <prefix>:{cache}:t:<tag>               a tag's version: a random text, set by each write

Answers are signed (redis/signing.py), and consist of a body and one of a few types: no header is taken from Redis.

An answer counts only while its tags have the versions that it names, so a write takes one SET, and an answer that was
being made while the write came can never count after it. Redis away means first level only. Nothing is kept here alone.
"""

import asyncio
import hashlib
import secrets
from typing import Any, Final, cast

import msgspec
import structlog
from redis.asyncio import Redis

from fleetwire.cache.entry import OK, OWN_HEADERS, RenderedAnswer
from fleetwire.cache.rules import ALL
from fleetwire.redis.client import RedisClient
from fleetwire.redis.signing import SIGNATURE_BYTES, RedisSigner
from fleetwire.redis.topology import FAILURES
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.retry import Backoff
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise
from fleetwire.telemetry import metrics

TAG: Final = "cache"
CONNECTIONS: Final = 8
ANSWER_SECS: Final = 0.25  # making an answer anew takes less than waiting longer for a kept one
PAUSE_SECS: Final = 1.0  # while Redis is away it is not asked for so long
TAG_LIFE_MILLIS: Final = 2 * 3_600_000  # longer than any answer lives, so that a version never comes back
MAX_PENDING: Final = 10_000
MAX_BODY_BYTES: Final = 1 << 20  # more would hold up what waits behind it on its connection

MEDIA_TYPES: Final = frozenset({"application/json", "application/geo+json", "text/plain; charset=utf-8"})
"""Types of answers that are shared; one of another type stays with the worker that made it."""
_PURPOSE: Final = b"cache"

_log = structlog.get_logger(__name__)


class Found(msgspec.Struct, frozen=True):
    """An answer of another worker, and how long ago it was made."""

    answer: RenderedAnswer
    age_millis: int


class Ticket(msgspec.Struct, frozen=True):
    """Where an answer goes, and the versions of its tags before it was made."""

    name: str
    versions: list[bytes | None]


class _Stored(msgspec.Struct, array_like=True):
    versions: list[bytes | None]
    made_at_millis: int
    media_type: str
    body: bytes


class RedisTier:
    """One worker's way to the second level."""

    def __init__(self, url: str, prefix: str, signer: RedisSigner) -> None:
        self._signer = signer
        self._server = RedisClient(url, TAG, connections=CONNECTIONS, answer_secs=ANSWER_SECS)
        self._prefix = f"{prefix}:{{{TAG}}}"
        self._away_until_secs = 0.0
        self._pending: set[bytes] = set()
        self._being_told: set[bytes] = set()
        self._arrived = asyncio.Event()
        self._telling: SupervisedTask | None = None
        self.failures = 0
        self.found = 0
        self.absent = 0

    def start(self) -> None:
        """From now on writes are told to Redis."""
        self._telling = supervise(
            self._tell_next,
            name="cache-shared",
            backoff=Backoff(first_secs=PAUSE_SECS, max_secs=2 * PAUSE_SECS),
            unready_after_secs=NEVER_UNREADY,
        )

    async def stop(self) -> None:
        """Closes the connections."""
        await supervisor.stop(self._telling)
        await self._server.close()

    @property
    def is_away(self) -> bool:
        """Whether Redis failed a moment ago and is not asked."""
        return clock.monotonic_secs() < self._away_until_secs

    def stats(self) -> dict[str, Any]:
        """What `GET /api/cache/stats` says of it."""
        return {
            "away": self.is_away,
            "found": self.found,
            "absent": self.absent,
            "failures": self.failures,
            "untold_writes": len(self._pending | self._being_told),
        }

    async def get(self, key: bytes, tags: tuple[bytes, ...]) -> tuple[Found | None, Ticket | None]:
        """An answer that counts, and a ticket to put one; neither while Redis is away or has not heard of a write."""
        tags = (ALL, *tags)
        if self.is_away or not (self._pending.isdisjoint(tags) and self._being_told.isdisjoint(tags)):
            return None, None
        name = f"{self._prefix}:e:{hashlib.blake2b(key, digest_size=16).hexdigest()}"
        client = None
        try:
            client = await self._server.client()
            stored, *versions = cast("list[bytes | None]", await client.mget([name, *map(self._tag_name, tags)]))
        except FAILURES as error:
            await self._fail(client, error)
            return None, None
        found = self._read(name, stored, versions)
        self.found, self.absent = self.found + (found is not None), self.absent + (found is None)
        return found, Ticket(name, versions)

    async def put(self, ticket: Ticket, answer: RenderedAnswer, *, life_millis: int) -> None:
        """Stores an answer, unless it is large or more than a body of a known type; a failure is counted."""
        media_type = _media_type(answer)
        if self.is_away or media_type is None or len(answer.body) > MAX_BODY_BYTES:
            return
        packed = msgspec.msgpack.encode(_Stored(ticket.versions, clock.now_millis(), media_type, answer.body))
        stored = self._signer.sign(_PURPOSE, ticket.name.encode(), packed) + packed
        client = None
        try:
            client = await self._server.client()
            await client.set(ticket.name, stored, px=life_millis)
        except FAILURES as error:
            await self._fail(client, error)

    def outdate(self, tag: bytes) -> None:
        """Something with a tag was written. Until Redis has heard of it, nothing with the tag is read from there."""
        if len(self._pending) >= MAX_PENDING:
            self._pending = {ALL}
        self._pending.add(tag)
        self._arrived.set()

    async def _tell_next(self) -> None:
        await self._arrived.wait()
        self._arrived.clear()
        self._being_told, self._pending = self._pending, set()
        client = None
        try:
            client = await self._server.client()
            pipeline = client.pipeline(transaction=False)
            for tag in self._being_told:
                await pipeline.set(self._tag_name(tag), secrets.token_bytes(8), px=TAG_LIFE_MILLIS)
            await pipeline.execute()
        except BaseException as error:
            self._pending |= self._being_told
            self._arrived.set()
            if isinstance(error, FAILURES):
                await self._fail(client, error)
            raise
        finally:
            self._being_told = set()

    def _read(self, name: str, stored: bytes | None, versions: list[bytes | None]) -> Found | None:
        if stored is None:
            return None
        signature, packed = stored[:SIGNATURE_BYTES], stored[SIGNATURE_BYTES:]
        if not self._signer.verifies(signature, _PURPOSE, name.encode(), packed):
            metrics.CACHE_SHARED_REFUSED.inc()
            return None  # Of another release, or not of a worker.
        try:
            decoded = msgspec.msgpack.decode(packed, type=_Stored)
        except msgspec.DecodeError:
            return None  # Of another release.
        if decoded.versions != versions or decoded.media_type not in MEDIA_TYPES:
            return None
        answer = RenderedAnswer(OK, [(b"content-type", decoded.media_type.encode())], decoded.body)
        return Found(answer, max(0, clock.now_millis() - decoded.made_at_millis))

    def _tag_name(self, tag: bytes) -> str:
        return f"{self._prefix}:t:{tag.decode()}"

    async def _fail(self, client: Redis | None, error: Exception) -> None:
        self.failures += 1
        metrics.CACHE_SHARED_FAILURES.inc()
        if not self.is_away:
            _log.warning("The second level of the cache is away.", error=repr(error))
        self._away_until_secs = clock.monotonic_secs() + PAUSE_SECS
        await self._server.failed(client)


def _media_type(answer: RenderedAnswer) -> str | None:
    """The type of an answer that has no further header of its own; None for any other."""
    own = [(name, value) for name, value in answer.headers if name not in OWN_HEADERS]
    if answer.status != OK or len(own) != 1 or own[0][0] != b"content-type":
        return None
    media_type = own[0][1].decode("latin-1")
    return media_type if media_type in MEDIA_TYPES else None
