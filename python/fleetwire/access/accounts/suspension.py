"""Suspends a tenant and lets it in again; every worker of every node is notified at the commit."""

from typing import Any

from fleetwire.access.accounts import audit
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL, TENANT
from fleetwire.errors import Problem
from fleetwire.postgres.statements import load

_sql = load("store/tenant")
_access_sql = load("access/access")


async def set_suspended(conn: Any, name: str, *, suspended: bool) -> None:  # noqa: ANN401 - asyncpg ships no types
    """Changes a tenant's status over a connection of the owner; repeating it notifies the workers again.

    Raises:
        Problem: 404 `tenant_unknown`.
    """
    async with conn.transaction():
        tenant_id = await conn.fetchval(_sql["set_status"], name, "suspended" if suspended else "active")
        if tenant_id is None:
            raise Problem("tenant_unknown", f"There is no tenant {name}.", status=404)
        await conn.execute(_access_sql["notify_revoked"], REVOKED_CHANNEL, f"{TENANT}{tenant_id}")
        await audit.note(conn, tenant_id, audit.OPERATOR, "tenant.suspend" if suspended else "tenant.resume", name)
