"""The database's word on a credential: whose it is, or why it is refused."""

import uuid
from typing import Any, Final

from fleetwire.access.identity.credential_cache import EXPIRED, INVALID, REVOKED_TOKEN, SUSPENDED, Refusal
from fleetwire.access.identity.principal import Principal
from fleetwire.postgres.pool import acquire, tenant_transaction
from fleetwire.postgres.statements import load
from fleetwire.runtime import clock
from fleetwire.telemetry import metrics

_ACTIVE: Final = "active"

_sql = load("access/access")


class CredentialStore:
    """Asks each time; what is remembered, and for how long, is its caller's business."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        self._pool = pool
        self.queries = 0

    async def by_hash(self, token_hash: bytes, *, now_millis: int) -> Principal | Refusal:
        """An opaque token's owner."""
        self.queries += 1
        metrics.ACCESS_LOOKUPS.inc()
        async with acquire(self._pool) as connection:
            row = await connection.fetchrow(_sql["find_credential"], token_hash)
        if row is None:
            return INVALID
        if row["revoked"]:
            return REVOKED_TOKEN
        expires_at = row["expires_at"]
        expires_at_millis = None if expires_at is None else clock.millis_of(expires_at)
        if expires_at_millis is not None and expires_at_millis <= now_millis:
            return EXPIRED
        if row["tenant_status"] != _ACTIVE or row["user_status"] not in {None, _ACTIVE}:
            return SUSPENDED
        is_named_like_a_device = False
        if row["role"] == "driver" and row["device_id"] is None:
            async with tenant_transaction(self._pool, row["tenant_id"]) as connection:
                is_named_like_a_device = await connection.fetchval(
                    _sql["is_device_name"], row["tenant_id"], row["user_name"]
                )
        return Principal(
            tenant_id=row["tenant_id"],
            tenant=row["tenant"],
            kind=row["kind"],
            role=row["role"],
            device_id=row["device_id"],
            device=row["device"],
            user_id=row["user_id"],
            user=row["user_name"],
            expires_at_millis=expires_at_millis,
            credential_hash=token_hash,
            credential_id=row["credential_id"],
            scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
            is_named_like_a_device=is_named_like_a_device,
        )

    async def by_session(
        self, tenant_id: int, session_id: bytes, *, expires_at_millis: int, token_hash: bytes
    ) -> Principal | Refusal:
        """The user of a login. Role and status are the row's, so that a change of either counts at once."""
        self.queries += 1
        metrics.ACCESS_LOOKUPS.inc()
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await connection.fetchrow(_sql["find_session"], tenant_id, uuid.UUID(bytes=session_id))
        if row is None or row["revoked"]:
            return REVOKED_TOKEN  # A row that was cleaned away had ended before.
        if row["expired"]:
            return EXPIRED
        if row["tenant_status"] != _ACTIVE or row["user_status"] != _ACTIVE:
            return SUSPENDED
        return Principal(
            tenant_id=tenant_id,
            tenant=row["tenant"],
            kind="user",
            role=row["role"],
            device_id=row["device_id"],
            device=row["device"],
            user_id=row["user_id"],
            user=row["user_name"],
            expires_at_millis=expires_at_millis,
            credential_hash=token_hash,
            session_id=session_id,
            is_named_like_a_device=row["is_named_like_a_device"],
        )
