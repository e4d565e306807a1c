"""Logins: a password opens a session row, the row vouches for short tokens until it ends.

login --password--> session row (2 h, moves with every renewal) --signs--> token (15 min)
renew: row alive, user active -> row lives on, new token           logout: row revoked, every worker told
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fleetwire import clock
from fleetwire.access import signed
from fleetwire.access.away import refusing_while_away
from fleetwire.access.keys import Keys
from fleetwire.access.opaque import is_opaque
from fleetwire.access.passwords import Passwords
from fleetwire.access.tokens import REVOKED_CHANNEL
from fleetwire.errors import Problem
from fleetwire.store.pool import borrowed, tenant_transaction
from fleetwire.store.statements import load

SESSION_LIFE_SECS: Final = 2 * 60 * 60

_ACTIVE: Final = "active"

_sql = load("access")


@dataclass(frozen=True, slots=True)
class Login:
    """What a user gets. The token is shown to its user and to nobody else."""

    token: str = field(repr=False)
    expires_at_millis: int
    tenant: str
    user: str
    role: str


class Sessions:
    """Opens, prolongs and ends sessions. `revoked` is told the hex of an ended session's id, ahead of the database."""

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - asyncpg ships no types
        keys: Keys,
        passwords: Passwords,
        *,
        revoked: Callable[[str], None],
        now_millis: Callable[[], int] = clock.now_millis,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._passwords = passwords
        self._revoked = revoked
        self._now_millis = now_millis

    async def login(self, tenant: str, user: str, password: str) -> Login:
        """Opens a session.

        Raises:
            Problem: 401 `login_failed`, alike for a wrong tenant, user and password; 403 `login_suspended`, which only
                who knows the password is told.
            Overloaded: 503 `login_busy` or `access_unavailable`.
        """
        with refusing_while_away():
            # No name holds a NUL, and PostgreSQL takes no text that does.
            found = None if "\0" in tenant + user else await self._find(tenant, user)
        right = await self._passwords.verify(None if found is None else found["password_hash"], password)
        if found is None or not right:
            raise Problem("login_failed", "Tenant, user or password is wrong.", status=401)
        if found["status"] != _ACTIVE or found["tenant_status"] != _ACTIVE:
            raise _suspended()
        tenant_id, user_id, session_id = found["tenant_id"], found["user_id"], uuid.uuid4()
        with refusing_while_away():
            async with tenant_transaction(self._pool, tenant_id) as connection:
                await connection.execute(_sql["open_session"], tenant_id, session_id, user_id, SESSION_LIFE_SECS)
            return await self._sign(
                session_id, tenant_id=tenant_id, user_id=user_id, tenant=tenant, user=user, role=found["role"]
            )

    async def renew(self, token: str) -> Login:
        """Prolongs a session and gives a new token; the shown one may have expired, the session may not.

        Raises:
            Problem: 401 `token_invalid`, `token_expired` or `token_revoked`, 403 `login_suspended`, 403 `forbidden`
                for a token that has no session.
            Overloaded: 503 `access_unavailable`.
        """
        with refusing_while_away():
            login = await self._read(token)
            async with tenant_transaction(self._pool, login.tenant_id) as connection:
                row = await connection.fetchrow(_sql["find_session"], login.tenant_id, login.session_id)
                if row is None or row["revoked"]:
                    raise Problem("token_revoked", "The session was ended; log in again.", status=401)
                if row["expired"]:
                    raise Problem("token_expired", "The session has expired; log in again.", status=401)
                if row["user_status"] != _ACTIVE or row["tenant_status"] != _ACTIVE:
                    raise _suspended()
                # A logout since the row was read wins: then nothing is prolonged.
                if (
                    await connection.fetchval(
                        _sql["extend_session"], login.tenant_id, login.session_id, SESSION_LIFE_SECS
                    )
                    is None
                ):
                    raise Problem("token_revoked", "The session was ended; log in again.", status=401)
            return await self._sign(
                login.session_id,
                tenant_id=login.tenant_id,
                user_id=row["user_id"],
                tenant=row["tenant"],
                user=row["user_name"],
                role=row["role"],
            )

    async def logout(self, token: str) -> None:
        """Ends a session everywhere; a second time is no error.

        Raises:
            Problem: 401 `token_invalid`, 403 `forbidden` for a token that has no session.
            Overloaded: 503 `access_unavailable`; the session may live on.
        """
        with refusing_while_away():
            login = await self._read(token)
            key = login.session_id.hex
            async with tenant_transaction(self._pool, login.tenant_id) as connection:
                await connection.execute(_sql["revoke_session"], login.tenant_id, login.session_id)
                await connection.execute(_sql["notify_revoked"], REVOKED_CHANNEL, key)
        self._revoked(key)

    async def _read(self, token: str) -> signed.Signed:
        if is_opaque(token):
            raise Problem("forbidden", "This token has no session; it is revoked by an administrator.", status=403)
        return await signed.read(token, self._keys, now_millis=self._now_millis(), expired_is_fine=True)

    async def _find(self, tenant: str, user: str) -> Any:  # noqa: ANN401 - asyncpg ships no types
        async with borrowed(self._pool) as connection:
            return await connection.fetchrow(_sql["find_login"], tenant, user)

    async def _sign(
        self, session_id: uuid.UUID, *, tenant_id: int, user_id: int, tenant: str, user: str, role: str
    ) -> Login:
        now_millis = self._now_millis()
        token = signed.sign(
            await self._keys.signing(),
            tenant_id=tenant_id,
            user_id=user_id,
            role=role,
            session_id=session_id,
            now_millis=now_millis,
        )
        expires_at_millis = (now_millis // 1000 + signed.LIFE_SECS) * 1000
        return Login(token, expires_at_millis, tenant, user, role)


def _suspended() -> Problem:
    return Problem("login_suspended", "The user or the tenant is suspended.", status=403)
