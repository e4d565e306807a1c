"""Tokens as an admin of their tenant makes, lists and revokes them. Each change is one transaction with its entry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fleetwire.access.accounts import audit
from fleetwire.access.accounts.validation import check_grant, check_life, check_name, check_scopes
from fleetwire.access.client_info import ClientInfo
from fleetwire.access.identity.api_tokens import generate_token, hash_token
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL
from fleetwire.access.identity.principal import PERMISSIONS, SCOPES, CredentialKind, Principal
from fleetwire.errors import Problem
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.statements import load
from fleetwire.runtime import clock

_sql = load("access/access")


class ApiToken(msgspec.Struct, frozen=True):
    """A token without what it is known by; times in ms since 1970, `last_used_at` to the minute."""

    token_id: int
    kind: str
    label: str
    role: str
    device: str | None
    user: str | None
    scopes: list[str] | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class TokenSubject(msgspec.Struct, frozen=True):
    """Whom a new token is for: a device's or a user's number, or neither for an ingest key."""

    kind: CredentialKind
    name: str
    device_id: int | None = None
    user_id: int | None = None


class TokenAdmin:
    """The tokens of the asking admin's tenant."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        self._pool = pool

    async def page(self, tenant_id: int, *, before_id: int | None, most: int) -> list[ApiToken]:
        """Tokens, newest first, the revoked and expired ones too."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            rows = await connection.fetch(_sql["page_credentials"], tenant_id, before_id, most)
        return [
            ApiToken(
                token_id=row["credential_id"],
                kind=row["kind"],
                label=row["label"],
                role=row["role"],
                device=row["device"],
                user=row["user_name"],
                scopes=row["scopes"],
                created_at=clock.millis_of(row["created_at"]),
                expires_at=_millis(row["expires_at"]),
                revoked_at=_millis(row["revoked_at"]),
                last_used_at=_millis(row["last_used_at"]),
            )
            for row in rows
        ]

    async def create(
        self,
        admin: Principal,
        bearer: TokenSubject,
        client_info: ClientInfo,
        *,
        scopes: Sequence[str] | None,
        life_secs: int | None,
    ) -> tuple[int, str]:
        """The number and the bare token, which is shown here once.

        Raises:
            Problem: 400 `name_invalid`, `life_invalid` or `scope_unknown`; 403 `scope_exceeded` or `life_exceeded`.
        """
        check_life(life_secs)
        check_scopes(bearer.kind, scopes)
        # A user's role may change later, so that a user's token without scopes may come to have any permission.
        everything = SCOPES if bearer.kind == "user" else PERMISSIONS[bearer.kind]
        check_grant(admin, everything if scopes is None else scopes, life_secs, now_millis=clock.now_millis())
        if bearer.name:
            check_name(bearer.kind, bearer.name)
        token, kept = generate_token(bearer.kind), None if scopes is None else sorted(set(scopes))
        async with tenant_transaction(self._pool, admin.tenant_id) as connection:
            token_id = await connection.fetchval(
                _sql["create_credential"],
                admin.tenant_id,
                bearer.kind,
                bearer.name,
                hash_token(token),
                bearer.device_id,
                bearer.user_id,
                life_secs,
                kept,
            )
            await audit.note(
                connection,
                admin.tenant_id,
                admin.actor,
                "token.create",
                str(token_id),
                client_info=client_info,
                kind=bearer.kind,
                name=bearer.name,
                scopes=kept,
                life_secs=life_secs,
            )
        return int(token_id), token

    async def revoke(self, admin: Principal, token_id: int, client_info: ClientInfo) -> str:
        """Revokes a token and returns what the workers know it by; a second time is no error.

        Raises:
            Problem: 404 `token_unknown`.
        """
        async with tenant_transaction(self._pool, admin.tenant_id) as connection:
            row = await connection.fetchrow(_sql["revoke_credential_of_tenant"], admin.tenant_id, token_id)
            if row is None:
                raise Problem("token_unknown", f"There is no token {token_id}.", status=404)
            key: str = row["token_hash"].hex()
            await connection.execute(_sql["notify_revoked"], REVOKED_CHANNEL, key)
            await audit.note(
                connection, admin.tenant_id, admin.actor, "token.revoke", str(token_id), client_info=client_info
            )
        return key


def _millis(at: datetime | None) -> int | None:
    return None if at is None else clock.millis_of(at)
