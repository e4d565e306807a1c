"""Somebody else who locks live positions of devices."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from .tenants import Tenant


async def begin(dsn: str) -> asyncpg.Connection:
    """Opens a connection and begins a transaction on it."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("BEGIN")
    return connection


async def lock_positions(connection: asyncpg.Connection, tenant: Tenant, *devices: str) -> None:
    """Locks the devices' live positions, one after the other, until the transaction ends."""
    for device in devices:
        found = await connection.fetch(
            "SELECT FROM live_position JOIN device USING (tenant_id, device_id) JOIN tenant USING (tenant_id) "
            "WHERE tenant.name = $1 AND device.name = $2 FOR UPDATE OF live_position",
            tenant.name,
            device,
        )
        assert len(found) == 1


@asynccontextmanager
async def locked(tenant: Tenant, *devices: str) -> AsyncIterator[None]:
    """Live positions of devices are locked by somebody else, whatever the database is set to meanwhile."""
    connection = await begin(tenant.dsn)
    try:
        await lock_positions(connection, tenant, *devices)
        yield
    finally:
        await connection.close()
