"""Users as an admin of their tenant makes and changes them. Each change is one transaction with its audit entry.

What a user may do is remembered by every worker. So a change ends the user's sessions and lets every worker ask for the
user's tokens anew; both are told at the commit.
"""

import asyncio
import uuid
from typing import Any, Final

import msgspec

from fleetwire.access.accounts import audit
from fleetwire.access.accounts.passwords import Passwords, check_password
from fleetwire.access.accounts.validation import check_grant, check_name, check_role
from fleetwire.access.client_info import ClientInfo
from fleetwire.access.identity.authenticator import CHANGED, REVOKED_CHANNEL
from fleetwire.access.identity.principal import PERMISSIONS, Principal
from fleetwire.errors import Problem
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.statements import load
from fleetwire.runtime import clock

STATUSES: Final = ("active", "disabled")

_sql = load("access/accounts/user")
_access_sql = load("access/access")


class User(msgspec.Struct, frozen=True):
    """A user; `created_at` in ms since 1970. `device` is what a driver reports for."""

    name: str
    display_name: str | None
    role: str
    status: str
    device: str | None
    has_password: bool
    created_at: int


class Change(msgspec.Struct, frozen=True):
    """What becomes of a user; None leaves it. `device_id` is UNSET to leave it, None to take it away."""

    role: str | None = None
    status: str | None = None
    password: str | None = None
    device_id: int | msgspec.UnsetType | None = msgspec.UNSET


class Users:
    """The users of the asking admin's tenant."""

    def __init__(self, pool: Any, passwords: Passwords) -> None:  # noqa: ANN401 - asyncpg ships no types
        self._pool = pool
        self._passwords = passwords

    async def page(self, tenant_id: int, *, after: str | None, most: int) -> list[User]:
        """Users by name."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            return [_user(row) for row in await connection.fetch(_sql["page"], tenant_id, after, most)]

    async def find_id(self, tenant_id: int, name: str) -> int:
        """The number of a user.

        Raises:
            Problem: 404 `user_unknown`.
        """
        check_name("user", name)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await connection.fetchrow(_sql["find"], tenant_id, name)
        if row is None:
            raise _unknown(name)
        return int(row["user_id"])

    async def create(
        self,
        admin: Principal,
        name: str,
        role: str,
        client_info: ClientInfo,
        *,
        password: str | None,
        device_id: int | None,
        display_name: str | None,
    ) -> User:
        """A new user; without a password one who can only be given tokens.

        Raises:
            Problem: 400 `name_invalid`, `role_unknown`, `device_of_driver`, `password_short`, `password_long` or
                `password_unreadable`; 403 `scope_exceeded`, `life_exceeded`; 409 `user_exists`.
        """
        check_name("user", name)
        check_role(role)
        check_grant(admin, PERMISSIONS[role], None, now_millis=clock.now_millis())
        _check_device(role, device_id)
        password_hash = None if password is None else await self._hashed(password, admin.tenant, name)
        async with tenant_transaction(self._pool, admin.tenant_id) as connection:
            user_id = await connection.fetchval(
                _sql["create"], admin.tenant_id, name, role, password_hash, device_id, display_name
            )
            if user_id is None:
                raise Problem("user_exists", f"There is a user {name} already.", status=409)
            user = _user(await connection.fetchrow(_sql["find"], admin.tenant_id, name))
            await audit.note(
                connection,
                admin.tenant_id,
                admin.actor,
                "user.create",
                name,
                client_info=client_info,
                role=role,
                device=user.device,
                has_password=user.has_password,
            )
        return user

    async def change(self, admin: Principal, name: str, change: Change, client_info: ClientInfo) -> User:
        """Changes a user, and ends the user's sessions on every worker.

        Raises:
            Problem: as `create`; 403 `password_own` for the admin's own password; 404 `user_unknown`; 409
                `last_admin` where nobody would be left who may undo it.
        """
        check_name("user", name)
        if change.role is not None:
            check_role(change.role)
        password_hash = None if change.password is None else await self._hashed(change.password, admin.tenant, name)
        tenant_id = admin.tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await connection.fetchrow(_sql["lock"], tenant_id, name)
            if row is None:
                raise _unknown(name)
            role, status = change.role or row["role"], change.status or row["status"]
            kept_device = row["device_id"] if role == "driver" else None
            device_id = kept_device if change.device_id is msgspec.UNSET else change.device_id
            _check_device(role, device_id)
            if status == "active" and (change.role, change.status, change.password) != (None, None, None):
                check_grant(admin, PERMISSIONS[role], None, now_millis=clock.now_millis())
            if change.password is not None and row["user_id"] == admin.user_id:
                detail = "Change your own password with POST /api/password, which takes the old one."
                raise Problem("password_own", detail, status=403)
            if (row["role"], row["status"]) == ("admin", "active") != (role, status):
                await _check_admin_left(connection, tenant_id, row["user_id"])
            await connection.execute(_sql["change"], tenant_id, row["user_id"], role, status, device_id, password_hash)
            await self._tell(connection, tenant_id, row["user_id"])
            user = _user(await connection.fetchrow(_sql["find"], tenant_id, name))
            await audit.note(
                connection,
                tenant_id,
                admin.actor,
                "user.change",
                name,
                client_info=client_info,
                role=role,
                status=status,
                device=user.device,
                password_changed=password_hash is not None,
            )
        return user

    async def change_own_password(self, user: Principal, old: str, new: str, client_info: ClientInfo) -> None:
        """Replaces the password of a logged-in user, and ends the user's other sessions.

        Raises:
            Problem: 403 `session_needed` for another credential than a login's; 403 `password_wrong`; 400
                `password_short`, `password_long`, `password_unreadable` or `password_common`.
            Overloaded: 503 `login_busy`.
        """
        if user.session_id is None:
            raise Problem("session_needed", "A password is changed by the user who is logged in.", status=403)
        tenant_id, name = user.tenant_id, user.user or ""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            old_hash = await connection.fetchval(_sql["password_hash"], tenant_id, user.user_id)
        if not await self._passwords.verify(old_hash, old):
            raise Problem("password_wrong", "The old password is wrong.", status=403)
        new_hash = await self._hashed(new, user.tenant, name)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            # Only if nobody else has replaced it since it was verified.
            changed = await connection.fetchval(_sql["replace_password"], tenant_id, user.user_id, old_hash, new_hash)
            if changed is None:
                raise Problem("password_wrong", "The password was changed meanwhile.", status=403)
            others = await connection.fetch(
                _sql["revoke_other_sessions"], tenant_id, user.user_id, uuid.UUID(bytes=user.session_id)
            )
            for row in others:
                await connection.execute(_access_sql["notify_revoked"], REVOKED_CHANNEL, row["session_id"].hex)
            await audit.note(
                connection, tenant_id, user.actor, "user.change", name, client_info=client_info, password_changed=True
            )

    async def _hashed(self, password: str, *names: str) -> str:
        await asyncio.to_thread(check_password, password, names)
        return await self._passwords.hash(password)

    async def _tell(self, connection: Any, tenant_id: int, user_id: int) -> None:  # noqa: ANN401
        for row in await connection.fetch(_access_sql["revoke_sessions_of_user"], tenant_id, user_id):
            await connection.execute(_access_sql["notify_revoked"], REVOKED_CHANNEL, row["session_id"].hex)
        for row in await connection.fetch(_access_sql["credentials_of_user"], tenant_id, user_id):
            await connection.execute(_access_sql["notify_revoked"], REVOKED_CHANNEL, CHANGED + row["token_hash"].hex())


async def _check_admin_left(connection: Any, tenant_id: int, user_id: int) -> None:  # noqa: ANN401
    if not await connection.fetch(_sql["other_admins"], tenant_id, user_id):
        raise Problem("last_admin", "The tenant would be left without an active admin.", status=409)


def _check_device(role: str, device_id: int | msgspec.UnsetType | None) -> None:
    if device_id is not None and role != "driver":
        raise Problem("device_of_driver", "Only a driver has a device.", status=400)


def _unknown(name: str) -> Problem:
    return Problem("user_unknown", f"There is no user {name}.", status=404)


def _user(row: Any) -> User:  # noqa: ANN401 - asyncpg ships no types
    return User(
        name=row["name"],
        display_name=row["display_name"],
        role=row["role"],
        status=row["status"],
        device=row["device"],
        has_password=row["has_password"],
        created_at=clock.millis_of(row["created_at"]),
    )
