"""Signs what workers put into Redis, with a key from the database: who can write to Redis only is not believed.

A signature is a keyed BLAKE2b of 16 bytes over everything that the reader relies on, its place in Redis included, so
that a value cannot be moved to another place. It takes about 1 microsecond and 2.5 nanoseconds a byte, per message.
Values can still be read by everybody who can read Redis, held back, deleted, or put back as they were a moment ago: see
SECURITY.md.
"""

import asyncio
import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import structlog

from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pool import acquire
from fleetwire.postgres.statements import load
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise

CHANNEL: Final = "fleetwire_redis_keys"
SIGNATURE_BYTES: Final = 16
RELOAD_SECS: Final = 1.0  # between two reads, however much arrives that is not signed

_sql = load("redis/redis_key")
_log = structlog.get_logger(__name__)


class RedisSigner:
    """The keys of one worker. The newest signs, all of them verify."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """Without keys nothing is signed or believed until `load`."""
        self._keys = tuple(keys)
        self._stale = asyncio.Event()
        self._reloading: SupervisedTask | None = None

    def sign(self, purpose: bytes, *parts: bytes) -> bytes:
        """The signature of parts, for a purpose of at most 16 bytes.

        Raises:
            LookupError: the keys were not loaded.
        """
        if not self._keys:
            raise LookupError("The keys for Redis are not loaded.")
        return _signature(self._keys[0], purpose, parts)

    def verifies(self, signature: bytes, purpose: bytes, *parts: bytes) -> bool:
        """Whether a worker signed this. If not, the keys are read again: they may have been rotated."""
        if any(hmac.compare_digest(signature, _signature(key, purpose, parts)) for key in self._keys):
            return True
        self._stale.set()
        return False

    async def load(self, pool: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        """Reads the keys over connections with the role `fleetwire_app`."""
        self._stale.clear()
        async with acquire(pool) as connection:
            rows = await connection.fetch(_sql["redis_keys"])
        self._keys = tuple(bytes(row["secret"]) for row in rows)

    def follow(self, pool: Any, listener: Listener) -> None:  # noqa: ANN401
        """Reads the keys again when they were rotated, in the background. Call it before the listener starts."""
        listener.on(CHANNEL, heard=lambda _: self._stale.set(), connected=self._stale.set)

        async def reload_next() -> None:
            await self._stale.wait()
            try:
                await self.load(pool)
            except BaseException:
                self._stale.set()
                raise
            await asyncio.sleep(RELOAD_SECS)

        self._reloading = supervise(reload_next, name="redis-keys", unready_after_secs=NEVER_UNREADY)

    async def stop(self) -> None:
        """Stops the background task."""
        await supervisor.stop(self._reloading)


def _signature(key: bytes, purpose: bytes, parts: Sequence[bytes]) -> bytes:
    state = blake2b(digest_size=SIGNATURE_BYTES, key=key, person=purpose)
    for part in parts:
        # With its length, so that no byte can pass from one part to the next.
        state.update(len(part).to_bytes(4, "big"))
        state.update(part)
    return state.digest()


async def rotate(connection: Any, *, drop_old: bool = False) -> None:  # noqa: ANN401
    """Makes a new key over a connection of the owner; every worker reads it within a second.

    With `drop_old` what older keys signed is not believed any more: cached answers are made again, and what messages
    under way say is read from the database.
    """
    async with connection.transaction():
        await connection.execute(_sql["add_redis_key"])
        await connection.execute(_sql["delete_old_redis_keys"], 1 if drop_old else 2)
        await connection.execute(_sql["notify_redis_keys"], CHANNEL)
