"""Everything that decides who may pass, opened and closed as one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fleetwire.access.accounts.device_cookie import DeviceCookies
from fleetwire.access.accounts.passwords import Passwords
from fleetwire.access.accounts.session_list import SessionList
from fleetwire.access.accounts.sessions import LONGEST_LIFE_SECS, Sessions
from fleetwire.access.accounts.signing_keys import SigningKeys
from fleetwire.access.accounts.token_admin import TokenAdmin
from fleetwire.access.accounts.users import Users
from fleetwire.access.client_info import ClientInfo, read_client_info
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL, Authenticator, lru
from fleetwire.access.identity.credential_cache import MakeCache
from fleetwire.access.identity.last_used import LastUsedRecorder
from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.postgres.listener import Listener
from fleetwire.settings import Settings


@dataclass(frozen=True, slots=True)
class AuthServices:
    """One worker's access: what verifies, what logs in, and what runs behind."""

    credentials: Authenticator
    sessions: Sessions
    limits: RateLimiter
    passwords: Passwords
    uses: LastUsedRecorder
    people: Users
    grants: TokenAdmin
    session_list: SessionList
    device_cookies: DeviceCookies
    revoke: Callable[[str], None]
    """Tells this worker, and others ahead of the database, what a revocation names."""

    def client_info(self, scope: Any) -> ClientInfo:  # noqa: ANN401 - the raw ASGI dictionary
        """Where a request came from, behind the operator's proxies."""
        return read_client_info(scope, self.limits.addresses)

    async def close(self) -> None:
        """Ends what runs behind; call it while the pool is still open, the last uses are written."""
        await self.credentials.stop()
        await self.uses.stop()


def open_auth(
    pool: Any,  # noqa: ANN401 - asyncpg ships no types
    listener: Listener,
    *,
    allowed_origins: frozenset[str] = frozenset(),
    limits: RateLimiter | None = None,
    recheck_secs: float = 60.0,
    make_memory: MakeCache = lru,
    make_credentials: type[Authenticator] = Authenticator,
    tell_revoked: Callable[[str], None] = lambda _: None,
) -> AuthServices:
    """Opens a worker's access.

    Args:
        pool: connections with the role `fleetwire_app`.
        listener: hears of revocations; not started yet, and started before anybody is let in.
        allowed_origins: besides the server's own, origins in lower case whose pages may use the session cookie.
        limits: of this worker; without them, the usual ones of a worker alone.
        recheck_secs: time in which the credential of every open socket is looked up once more.
        make_memory: from a capacity and a life in milliseconds to a bounded map.
        make_credentials: what verifies tokens.
        tell_revoked: is told what this worker revokes, besides the database, which tells everyone.
    """
    keys, uses, passwords = SigningKeys(pool, keep_retired_secs=LONGEST_LIFE_SECS), LastUsedRecorder(pool), Passwords()
    credentials = make_credentials(
        pool, keys, uses, make_memory=make_memory, allowed_origins=allowed_origins, recheck_secs=recheck_secs
    )
    listener.on(REVOKED_CHANNEL, heard=credentials.revoke, connected=credentials.forget)

    def revoke(key: str) -> None:
        credentials.revoke(key)
        tell_revoked(key)

    sessions = Sessions(pool, keys, passwords, revoked=revoke)
    credentials.start()
    uses.start()
    return AuthServices(
        credentials,
        sessions,
        limits or RateLimiter(Settings()),
        passwords,
        uses,
        people=Users(pool, passwords),
        grants=TokenAdmin(pool),
        session_list=SessionList(pool),
        device_cookies=DeviceCookies(keys),
        revoke=revoke,
    )
