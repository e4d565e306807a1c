"""Logins: a password opens a session row, the row vouches for short tokens until it ends.

login --password--> session row (2 h, moves with every refresh; a driver's 8 h, does not) --signs--> token (15 min)
refresh: newest refresh token, row alive, user active -> new token, new refresh token
         an older refresh token of the session -> somebody has a copy: row revoked, every worker told
logout:  row revoked, every worker told
"""

import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from fleetwire.access.accounts import audit, refresh_token
from fleetwire.access.accounts.passwords import Passwords
from fleetwire.access.accounts.signing_keys import SigningKey, SigningKeys
from fleetwire.access.client_info import NOWHERE, ClientInfo
from fleetwire.access.identity import access_jwt
from fleetwire.access.identity.api_tokens import is_opaque
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL
from fleetwire.access.identity.away import refusing_while_away
from fleetwire.errors import Problem
from fleetwire.postgres.pool import acquire, tenant_transaction
from fleetwire.postgres.statements import load
from fleetwire.runtime import clock

SESSION_LIFE_SECS: Final = 2 * 60 * 60
DRIVER_LIFE_SECS: Final = 8 * 60 * 60  # a shift, counted from the login: nobody refreshes a lost phone for ever
LONGEST_LIFE_SECS: Final = max(SESSION_LIFE_SECS, DRIVER_LIFE_SECS)
# Two tabs of a browser share their cookies and may refresh at the same moment.
GRACE_SECS: Final = 10

_ACTIVE: Final = "active"

_sql = load("access/access")
_session_sql = load("access/accounts/session")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """What a user gets. The tokens are shown to their user and to nobody else; `refresh_token` None: keep the last."""

    token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at_millis: int
    session_ends_at_millis: int
    tenant: str
    user: str
    role: str


class Sessions:
    """Opens, prolongs and ends sessions. `revoked` is told the hex of an ended session's id, ahead of the database."""

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - asyncpg ships no types
        keys: SigningKeys,
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

    async def login(self, tenant: str, user: str, password: str, client_info: ClientInfo = NOWHERE) -> Login:
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
            _log.warning("A login failed.", tenant=tenant, user=user, address=client_info.address)
            raise Problem("login_failed", "Tenant, user or password is wrong.", status=401)
        if found["status"] != _ACTIVE or found["tenant_status"] != _ACTIVE:
            raise _suspended()
        tenant_id, session_id = found["tenant_id"], uuid.uuid4()
        first = refresh_token.first(tenant_id, session_id)
        life_secs = DRIVER_LIFE_SECS if found["role"] == "driver" else SESSION_LIFE_SECS
        with refusing_while_away():
            key = await self._keys.signing()
            async with tenant_transaction(self._pool, tenant_id) as connection:
                ends_at = await connection.fetchval(
                    _session_sql["open"],
                    tenant_id,
                    session_id,
                    found["user_id"],
                    life_secs,
                    first.family_hash,
                    first.hash,
                    client_info.address,
                    client_info.user_agent,
                )
            row = {**found, "tenant": tenant, "user_name": user}
            _log.info("A user logged in.", tenant=tenant, user=user, address=client_info.address)
            return self._sign(key, first, row, ends_at, refresh_token=first.text())

    async def renew(self, presented: str, client_info: ClientInfo = NOWHERE, *, by_page: bool = False) -> Login:
        """Prolongs a session and gives new tokens for the newest refresh token of it.

        Args:
            presented: the refresh token.
            client_info: where the token comes from; it is stored with the session, and in the audit log.
            by_page: by a cookie. Then one that was replaced less than `GRACE_SECS` ago from the same address by the
                same browser is no copy, but another tab's: it gets a token, and no refresh token, since the cookies
                have the newer one already. The audit log says so.

        Raises:
            Problem: 401 `token_invalid`, `token_expired` or `token_revoked`; 401 `refresh_reused`, and the session has
                ended; 403 `login_suspended`.
            Overloaded: 503 `access_unavailable`.
        """
        shown = refresh_token.read(presented)
        if shown is None:
            raise Problem("token_invalid", "The refresh token is not valid here.", status=401)
        with refusing_while_away():
            # Before the transaction: reading the keys takes a connection, and a token is replaced only by one that can
            # be signed.
            key = await self._keys.signing()
            async with tenant_transaction(self._pool, shown.tenant_id) as connection:
                row = await connection.fetchrow(
                    _session_sql["lock_refreshed"], shown.tenant_id, shown.session_id, GRACE_SECS
                )
                _check_alive(row, shown)
                if hmac.compare_digest(row["refresh_hash"], shown.hash):
                    successor = shown.successor()
                    life_secs = None if row["role"] == "driver" else SESSION_LIFE_SECS
                    ends_at = await connection.fetchval(
                        _session_sql["rotate"],
                        shown.tenant_id,
                        shown.session_id,
                        successor.hash,
                        life_secs,
                        client_info.address,
                        client_info.user_agent,
                    )
                    return self._sign(key, successor, row, ends_at, refresh_token=successor.text())
                same_browser = (row["address"], row["user_agent"]) == (client_info.address, client_info.user_agent)
                if by_page and same_browser and row["just_refreshed"] and row["previous_hash"] == shown.hash:
                    await audit.note(
                        connection,
                        shown.tenant_id,
                        row["user_name"],
                        "session.overlap",
                        str(shown.session_id),
                        client_info=client_info,
                    )
                    return self._sign(key, shown, row, row["expires_at"], refresh_token=None)
                await self._end(connection, shown.tenant_id, shown.session_id)
                await audit.note(
                    connection,
                    shown.tenant_id,
                    row["user_name"],
                    "session.reuse",
                    str(shown.session_id),
                    client_info=client_info,
                )
        self._revoked(shown.session_id.hex)
        _log.warning("A refresh token was used again.", tenant=row["tenant"], user=row["user_name"])
        raise Problem("refresh_reused", "The refresh token was used before; the session has ended.", status=401)

    async def logout(self, token: str) -> None:
        """Ends a session everywhere; a second time is no error.

        Raises:
            Problem: 401 `token_invalid`, 403 `forbidden` for a token that has no session.
            Overloaded: 503 `access_unavailable`; the session may live on.
        """
        if is_opaque(token):
            raise Problem("forbidden", "This token has no session; it is revoked by an administrator.", status=403)
        with refusing_while_away():
            login = await access_jwt.read(token, self._keys, now_millis=self._now_millis(), expired_is_fine=True)
            async with tenant_transaction(self._pool, login.tenant_id) as connection:
                await self._end(connection, login.tenant_id, login.session_id)
        self._revoked(login.session_id.hex)

    async def _end(self, connection: Any, tenant_id: int, session_id: uuid.UUID) -> None:  # noqa: ANN401
        await connection.execute(_sql["revoke_session"], tenant_id, session_id)
        await connection.execute(_sql["notify_revoked"], REVOKED_CHANNEL, session_id.hex)

    async def _find(self, tenant: str, user: str) -> Any:  # noqa: ANN401 - asyncpg ships no types
        async with acquire(self._pool) as connection:
            return await connection.fetchrow(_sql["find_login"], tenant, user)

    def _sign(
        self,
        key: SigningKey,
        session: refresh_token.RefreshToken,
        row: Any,  # noqa: ANN401 - asyncpg ships no types
        ends_at: Any,  # noqa: ANN401
        *,
        refresh_token: str | None,
    ) -> Login:
        now_millis, ends_at_millis = self._now_millis(), clock.millis_of(ends_at)
        # Not beyond its session: a driver's last token is a short one.
        life_secs = max(1, min(access_jwt.LIFE_SECS, (ends_at_millis - now_millis) // 1000))
        token = access_jwt.sign(
            key,
            tenant_id=session.tenant_id,
            user_id=row["user_id"],
            role=row["role"],
            session_id=session.session_id,
            now_millis=now_millis,
            life_secs=life_secs,
        )
        expires_at_millis = (now_millis // 1000 + life_secs) * 1000
        return Login(
            token, refresh_token, expires_at_millis, ends_at_millis, row["tenant"], row["user_name"], row["role"]
        )


def _check_alive(row: Any, shown: refresh_token.RefreshToken) -> None:  # noqa: ANN401 - asyncpg ships no types
    if row is None:
        raise Problem("token_revoked", "The session was ended; log in again.", status=401)
    if row["family_hash"] is None or not hmac.compare_digest(row["family_hash"], shown.family_hash):
        raise Problem("token_invalid", "The refresh token is not valid here.", status=401)
    if row["revoked"]:
        raise Problem("token_revoked", "The session was ended; log in again.", status=401)
    if row["expired"]:
        raise Problem("token_expired", "The session has expired; log in again.", status=401)
    if row["user_status"] != _ACTIVE or row["tenant_status"] != _ACTIVE:
        raise _suspended()


def _suspended() -> Problem:
    return Problem("login_suspended", "The user or the tenant is suspended.", status=403)
