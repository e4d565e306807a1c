"""Sessions as their user and the tenant's admins see them: listed, and ended one by one."""

import uuid
from typing import Any

import msgspec

from fleetwire.access.accounts import audit
from fleetwire.access.client_info import ClientInfo
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL
from fleetwire.access.identity.principal import Principal
from fleetwire.errors import Problem
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.statements import load
from fleetwire.runtime import clock

_sql = load("access/accounts/session")
_access_sql = load("access/access")


class SessionRow(msgspec.Struct, frozen=True):
    """A session that lives; times in ms since 1970. `current` is the one whose token asks."""

    session_id: uuid.UUID
    created_at: int
    refreshed_at: int
    expires_at: int
    address: str | None
    user_agent: str | None
    current: bool


class SessionList:
    """The living sessions of a tenant's users."""

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        self._pool = pool

    async def of_user(self, asker: Principal, user_id: int) -> list[SessionRow]:
        """A user's sessions, newest first."""
        async with tenant_transaction(self._pool, asker.tenant_id) as connection:
            rows = await connection.fetch(_sql["list_of_user"], asker.tenant_id, user_id)
        return [
            SessionRow(
                session_id=row["session_id"],
                created_at=clock.millis_of(row["created_at"]),
                refreshed_at=clock.millis_of(row["refreshed_at"]),
                expires_at=clock.millis_of(row["expires_at"]),
                address=row["address"],
                user_agent=row["user_agent"],
                current=row["session_id"].bytes == asker.session_id,
            )
            for row in rows
        ]

    async def end(self, asker: Principal, session_id: uuid.UUID, client_info: ClientInfo) -> str:
        """Ends a session of the asker, or as an admin of anybody; returns what the workers know it by.

        Raises:
            Problem: 404 `session_unknown`, also for one that has ended and for another user's.
        """
        tenant_id, whose = asker.tenant_id, None if asker.may("administer") else asker.user_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            user = await connection.fetchval(_sql["end"], tenant_id, session_id, whose)
            if user is None:
                raise Problem("session_unknown", "There is no such session, or it has ended.", status=404)
            await connection.execute(_access_sql["notify_revoked"], REVOKED_CHANNEL, session_id.hex)
            await audit.note(
                connection, tenant_id, asker.actor, "session.end", str(session_id), client_info=client_info, user=user
            )
        return session_id.hex
