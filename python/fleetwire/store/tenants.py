"""Tenants as the operator sees them: what there is and how long they keep fixes."""

from dataclasses import dataclass

import asyncpg

from fleetwire.errors import Problem
from fleetwire.postgres import statements

_SQL = statements.load("store/tenant")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is listed."""

    tenant_id: int
    name: str
    status: str
    devices: int
    device_limit: int
    retention_days: int | None
    """None: as the server's setting says; 0: for ever."""
    created_at: str


async def list_tenants(connection: asyncpg.Connection) -> list[Tenant]:
    """All tenants by name."""
    rows = [dict(row) for row in await connection.fetch(_SQL["list_tenants"])]
    return [Tenant(**(row | {"created_at": row["created_at"].isoformat()})) for row in rows]


async def find_tenant(connection: asyncpg.Connection, name: str) -> int:
    """The number of a tenant.

    Raises:
        Problem: 404 `tenant_unknown`.
    """
    row = await connection.fetchrow(_SQL["find_tenant"], name)
    if row is None:
        raise Problem("tenant_unknown", f"There is no tenant {name}.", status=404)
    tenant_id: int = row["tenant_id"]
    return tenant_id


async def set_retention(connection: asyncpg.Connection, name: str, days: int | None) -> None:
    """Says how many days a tenant keeps its fixes; None as the server's setting says, 0 for ever.

    Servers refuse and hide what has expired within a minute, and delete it as docs/tuning.md says.

    Raises:
        Problem: `tenant_unknown`, or `retention_invalid` for less than 0 or more than 36,500 days.
    """
    try:
        tenant_id = await connection.fetchval(_SQL["set_retention"], name, days)
    except (asyncpg.CheckViolationError, asyncpg.DataError) as error:
        raise Problem("retention_invalid", "Fixes are kept for 1 to 36500 days, or 0: for ever.", status=400) from error
    if tenant_id is None:
        await find_tenant(connection, name)


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'
