"""What an operator does at the machine: tenants, users and tokens, over a connection of the database's owner.

The owner is not subject to row-level security, so every statement names its tenant. Every function is one transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from fleetwire.access.accounts import audit
from fleetwire.access.accounts.passwords import Passwords, check_password
from fleetwire.access.accounts.validation import check_life, check_name, check_role, check_scopes
from fleetwire.access.identity.api_tokens import generate_token, hash_token, is_opaque
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL
from fleetwire.access.identity.principal import PERMISSIONS, USER_ROLES, CredentialKind
from fleetwire.errors import Problem
from fleetwire.postgres.channels import CHANNEL, COMMAND, payload
from fleetwire.postgres.statements import load
from fleetwire.store.devices import DEVICES_TAG

DEFAULT_ROLE: Final = "dispatcher"

_MAX_ID: Final = 2**63 - 1

Connection = Any  # asyncpg ships no types.

_sql = load("access/access")
_user_sql = load("access/accounts/user")
_cache_sql = load("cache/cache")


class CredentialShown(msgspec.Struct, frozen=True):
    """A credential as it is listed; times are ISO 8601 in UTC."""

    credential_id: int
    kind: str
    label: str
    role: str
    device: str | None
    user: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


async def ensure_tenant(conn: Connection, name: str) -> int:
    """The id of a tenant, which is created if missing.

    Raises:
        Problem: `name_invalid`.
    """
    check_name("tenant", name)
    await conn.execute(_sql["ensure_tenant"], name)
    return int((await conn.fetchrow(_sql["find_tenant"], name))["tenant_id"])


async def issue_token(
    conn: Connection,
    tenant: str,
    kind: CredentialKind,
    name: str | None = None,
    role: str | None = None,
    *,
    life_secs: int | None = None,
    scopes: Sequence[str] | None = None,
) -> str:
    """A new bare token; tenant, device or user are created if missing. Shown here once, stored as its sha256.

    Args:
        conn: the owner's.
        tenant: its name.
        kind: `ingest` for the whole tenant, `device` or `user` for the one called `name`.
        name: of the device or the user; with `ingest` a label.
        role: of the user; None takes the role the user has, or for a new one the least that has all of `scopes`.
        life_secs: None for a token without an end.
        scopes: the permissions that it keeps of its role's; None keeps all.

    Raises:
        Problem: `name_invalid`, `role_unknown`, `role_differs`, `device_limit`, `life_invalid`, `scope_unknown`.
    """
    check_life(life_secs)
    check_scopes(kind, scopes)
    if role is not None and kind != "user":
        raise Problem("role_unknown", f"A token of kind {kind} has no role to choose.", status=400)
    if kind != "ingest" or name:
        check_name(kind, name or "")
    token = generate_token(kind)
    async with conn.transaction():
        tenant_id = await ensure_tenant(conn, tenant)
        device_id = await _ensure_device(conn, tenant_id, name or "") if kind == "device" else None
        user_id = await _ensure_user(conn, tenant_id, name or "", role, scopes) if kind == "user" else None
        kept = None if scopes is None else sorted(set(scopes))
        token_id = await conn.fetchval(
            _sql["create_credential"],
            tenant_id,
            kind,
            name or "",
            hash_token(token),
            device_id,
            user_id,
            life_secs,
            kept,
        )
        await audit.note(
            conn,
            tenant_id,
            audit.OPERATOR,
            "token.create",
            str(token_id),
            kind=kind,
            name=name,
            scopes=kept,
            life_secs=life_secs,
        )
    return token


async def create_user(
    conn: Connection, tenant: str, name: str, password: str, role: str, *, device: str | None = None
) -> int:
    """The id of a new user who can log in; the tenant is created if missing, and so is a driver's `device`.

    Raises:
        Problem: `name_invalid`, `role_unknown`, `password_short`, `password_long`, `password_common`, `user_exists`,
            `device_of_driver`, `device_limit`.
    """
    if device is not None and role != "driver":
        raise Problem("device_of_driver", "Only a driver has a device.", status=400)
    check_name("user", name)
    check_role(role)
    check_password(password, (tenant, name))
    password_hash = await Passwords().hash(password)
    async with conn.transaction():
        tenant_id = await ensure_tenant(conn, tenant)
        device_id = None if device is None else await _ensure_device(conn, tenant_id, device)
        user_id = await conn.fetchval(_user_sql["create"], tenant_id, name, role, password_hash, device_id, None)
        if user_id is None:
            raise Problem("user_exists", f"The tenant {tenant} already has a user {name}.", status=409)
        await audit.note(conn, tenant_id, audit.OPERATOR, "user.create", name, role=role, device=device)
    return int(user_id)


async def set_password(conn: Connection, tenant: str, name: str, password: str) -> None:
    """Replaces a user's password and ends the user's sessions: who changes it may do so because it was stolen.

    Raises:
        Problem: `password_short`, `password_long`, `password_common`, `user_unknown`.
    """
    check_password(password, (tenant, name))
    password_hash = await Passwords().hash(password)
    async with conn.transaction():
        tenant_row = await conn.fetchrow(_sql["find_tenant"], tenant)
        tenant_id = 0 if tenant_row is None else int(tenant_row["tenant_id"])  # there is no tenant 0
        user_id = await conn.fetchval(_sql["set_password"], tenant_id, name, password_hash)
        if user_id is None:
            raise Problem("user_unknown", f"There is no user {name} in the tenant {tenant}.", status=404)
        for row in await conn.fetch(_sql["revoke_sessions_of_user"], tenant_id, user_id):
            await conn.execute(_sql["notify_revoked"], REVOKED_CHANNEL, row["session_id"].hex)
        await audit.note(conn, tenant_id, audit.OPERATOR, "user.change", name, password_changed=True)


async def list_credentials(conn: Connection, tenant: str) -> list[CredentialShown]:
    """A tenant's credentials, newest first, the revoked and expired ones too.

    Raises:
        Problem: `tenant_unknown`.
    """
    tenant_row = await conn.fetchrow(_sql["find_tenant"], tenant)
    if tenant_row is None:
        raise Problem("tenant_unknown", f"There is no tenant {tenant}.", status=404)
    rows = await conn.fetch(_sql["list_credentials"], tenant_row["tenant_id"])
    return [
        CredentialShown(
            credential_id=row["credential_id"],
            kind=row["kind"],
            label=row["label"],
            role=row["role"],
            device=row["device"],
            user=row["user_name"],
            created_at=row["created_at"].isoformat(),
            expires_at=_iso(row["expires_at"]),
            revoked_at=_iso(row["revoked_at"]),
            last_used_at=_iso(row["last_used_at"]),
        )
        for row in rows
    ]


async def revoke_token(conn: Connection, credential: str | int) -> int:
    """Revokes a token, given bare or by its credential's id, and returns that id. Every worker hears of it.

    Revoking again is no error: it tells the workers again.

    Raises:
        Problem: `token_unknown`.
    """
    async with conn.transaction():
        if isinstance(credential, int):
            row = await conn.fetchrow(_sql["revoke_credential_by_id"], min(credential, _MAX_ID))
        elif is_opaque(credential):
            row = await conn.fetchrow(_sql["revoke_credential_by_hash"], hash_token(credential))
        else:
            row = None
        if row is None:
            raise Problem("token_unknown", "There is no such token; give the whole token or its number.", status=404)
        await conn.execute(_sql["notify_revoked"], REVOKED_CHANNEL, row["token_hash"].hex())
        await audit.note(conn, row["tenant_id"], audit.OPERATOR, "token.revoke", str(row["credential_id"]))
    return int(row["credential_id"])


async def _ensure_device(conn: Connection, tenant_id: int, name: str) -> int:
    device_id = await conn.fetchval(_sql["ensure_device"], tenant_id, name)
    await conn.execute(_cache_sql["notify_outdated"], CHANNEL, payload(COMMAND, tenant_id, DEVICES_TAG))
    if device_id is None:
        raise Problem("device_limit", "The tenant has as many devices as it may have.", status=409)
    return int(device_id)


async def _ensure_user(
    conn: Connection, tenant_id: int, name: str, role: str | None, scopes: Sequence[str] | None
) -> int:
    if role is not None:
        check_role(role)
    await conn.execute(_sql["ensure_user"], tenant_id, name, role or _least_role(scopes))
    row = await conn.fetchrow(_sql["find_user"], tenant_id, name)
    if role is not None and row["role"] != role:
        detail = f"The user {name} has the role {row['role']}, not {role}; a token does not change it."
        raise Problem("role_differs", detail, status=409)
    if scopes is not None and PERMISSIONS[row["role"]].isdisjoint(scopes):
        detail = f"The user {name} has the role {row['role']}, which has none of these scopes; choose another --role."
        raise Problem("scope_unknown", detail, status=400)
    return int(row["user_id"])


def _least_role(scopes: Sequence[str] | None) -> str:
    """The role of a new user that has all of the scopes and the fewest permissions besides."""
    roles = (DEFAULT_ROLE,) if scopes is None else sorted(USER_ROLES, key=lambda role: (len(PERMISSIONS[role]), role))
    return next((role for role in roles if PERMISSIONS[role] >= set(scopes or ())), DEFAULT_ROLE)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
