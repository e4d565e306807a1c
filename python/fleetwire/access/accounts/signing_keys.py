"""The keys that sign logins. They live in the database, so that every worker and node accepts what another signed.

More than one key is accepted at a time: a retired one until no session can still show a token it signed, the newest
live one signs. The first login ever makes the first key, under a lock in the database.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fleetwire.postgres.pool import acquire
from fleetwire.postgres.statements import load
from fleetwire.runtime import clock

SECRET_BYTES: Final = 32  # what HS256 asks for at least (RFC 7518, 3.2)

# A key that another node rotates in is used for signing this late at the most.
RELOAD_SECS: Final = 60.0
# A token that names an unknown key may be newer than what was read; one that is made up must not cost a query each.
UNKNOWN_RELOAD_SECS: Final = 1.0

_sql = load("access/access")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One signing key; `secret` stays out of every log."""

    kid: str
    secret: bytes = field(repr=False)
    may_sign: bool


class SigningKeys:
    """The signing keys as this process read them last; retired ones for `keep_retired_secs`, a session's life."""

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - asyncpg ships no types
        *,
        keep_retired_secs: int,
        monotonic_secs: Callable[[], float] = clock.monotonic_secs,
    ) -> None:
        self._pool = pool
        self._keep_retired_secs = keep_retired_secs
        self._monotonic_secs = monotonic_secs
        self._keys: dict[str, SigningKey] = {}
        self._read_at_secs: float | None = None
        self._reading = asyncio.Lock()

    async def signing(self) -> SigningKey:
        """The newest key that may sign; made in the database when there is none yet."""
        await self._read(older_than_secs=RELOAD_SECS)
        if (key := self._newest()) is None:
            kid, secret = secrets.token_hex(8), secrets.token_bytes(SECRET_BYTES)
            async with acquire(self._pool) as connection:
                await connection.execute(_sql["ensure_signing_key"], kid, secret)
            await self._read(older_than_secs=0.0)
            key = self._newest()
        if key is None:
            message = "The database holds no signing key although one was made."
            raise RuntimeError(message)
        return key

    async def find(self, kid: str) -> SigningKey | None:
        """The key a token names, or None; an unknown name makes one query a second at the most."""
        if kid not in self._keys:
            await self._read(older_than_secs=UNKNOWN_RELOAD_SECS)
        return self._keys.get(kid)

    def forget(self) -> None:
        """The next question reads the keys again."""
        self._read_at_secs = None
        self._keys = {}

    def _newest(self) -> SigningKey | None:
        return next((key for key in self._keys.values() if key.may_sign), None)

    async def _read(self, *, older_than_secs: float) -> None:
        async with self._reading:
            # Asked again under the lock: who waited for it finds the keys another has just read.
            now_secs = self._monotonic_secs()
            if self._read_at_secs is not None and now_secs - self._read_at_secs < older_than_secs:
                return
            async with acquire(self._pool) as connection:
                rows = await connection.fetch(_sql["signing_keys"], self._keep_retired_secs)
            self._keys = {row["kid"]: SigningKey(row["kid"], bytes(row["secret"]), row["may_sign"]) for row in rows}
            self._read_at_secs = now_secs
