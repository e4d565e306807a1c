"""The keys that sign logins, replaced by an operator: over a connection of the database's owner.

A rotation leaves two keys at work: the new one signs, the one before it verifies until nothing it signed is left.
Nobody is logged out. If a key may have leaked, the old ones are dropped: then tokens of the last quarter of an hour are
refused, and their users' next refresh, which needs no such key, gives them new ones.
"""

import secrets
from typing import Any

import msgspec

from fleetwire.access.accounts.sessions import LONGEST_LIFE_SECS
from fleetwire.access.accounts.signing_keys import SECRET_BYTES
from fleetwire.access.identity.authenticator import FORGET, REVOKED_CHANNEL
from fleetwire.postgres.statements import load

_sql = load("access/access")


class KeyShown(msgspec.Struct, frozen=True):
    """A key without its secret; times are ISO 8601 in UTC. Without `retired_at` it signs."""

    kid: str
    created_at: str
    retired_at: str | None


async def rotate(conn: Any, *, drop_old: bool = False) -> str:  # noqa: ANN401 - asyncpg ships no types
    """Makes a new key that signs from now on, and returns its name; every worker hears of it at once."""
    kid = secrets.token_hex(8)
    async with conn.transaction():
        await conn.execute(_sql["lock_signing_keys"])
        await conn.execute(_sql["retire_signing_keys"])
        await conn.execute(_sql["delete_retired_keys"], 0 if drop_old else LONGEST_LIFE_SECS)
        await conn.execute(_sql["add_signing_key"], kid, secrets.token_bytes(SECRET_BYTES))
        await conn.execute(_sql["notify_revoked"], REVOKED_CHANNEL, FORGET)
    return kid


async def list_keys(conn: Any) -> list[KeyShown]:  # noqa: ANN401
    """The keys, newest first."""
    return [
        KeyShown(
            kid=row["kid"],
            created_at=row["created_at"].isoformat(),
            retired_at=None if row["retired_at"] is None else row["retired_at"].isoformat(),
        )
        for row in await conn.fetch(_sql["list_signing_keys"])
    ]
