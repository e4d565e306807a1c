"""Removal of a device with everything that was stored of it, in bounded steps, so that ingest of others goes on.

    its tokens end -> its rows go, partition by partition -> the rest while the device is locked, with the device

Workers are notified at the commit and forget it (`live/tenant_erasure_listener.py`). A sender that still uses the name
with a token of the whole tenant makes a new device of that name, without history.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from fleetwire.access.accounts import audit
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL
from fleetwire.errors import Problem
from fleetwire.postgres import statements
from fleetwire.store.partitions import on_partition
from fleetwire.store.tenant_erasure import DEVICES, ERASED_CHANNEL
from fleetwire.store.tenants import find_tenant

_SQL = statements.load("store/device")
_TENANT_SQL = statements.load("store/tenant")
_ACCESS_SQL = statements.load("access/access")
_EXPIRY_SQL = statements.load("store/maintenance/expiry")
_COMPACTION_SQL = statements.load("store/maintenance/compaction")

ROWS_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it is listed."""

    name: str
    created_at: str
    last_fixed_at: str | None
    received_at: str | None


async def list_devices(connection: asyncpg.Connection, tenant: str) -> list[Device]:
    """All devices of a tenant by name.

    Raises:
        Problem: 404 `tenant_unknown`.
    """
    tenant_id = await find_tenant(connection, tenant)
    return [
        Device(row["name"], row["created_at"].isoformat(), _iso(row["last_fixed_at"]), _iso(row["received_at"]))
        for row in await connection.fetch(_SQL["all_devices"], tenant_id)
    ]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


async def remove_device(connection: asyncpg.Connection, tenant: str, name: str) -> int:
    """Deletes a device and its history; returns how many fixes that were.

    `connection` is the owner's, while nobody else merges (`upkeep.exclusive`).

    Raises:
        Problem: 404 `tenant_unknown` or `device_unknown`; 409 `device_in_use`, it is a driver's.
    """
    tenant_id = await find_tenant(connection, tenant)
    device_id = await connection.fetchval(_SQL["find_devices"], tenant_id, [name])
    if device_id is None:
        raise Problem("device_unknown", f"There is no device {name!r}.", status=404)
    driver = await connection.fetchval(_SQL["driver_of"], tenant_id, device_id)
    if driver is not None:
        raise Problem("device_in_use", f"{name!r} is the device of the driver {driver!r}.", status=409)
    async with connection.transaction():
        for row in await connection.fetch(_SQL["revoke_credentials"], tenant_id, device_id):
            await connection.execute(_ACCESS_SQL["notify_revoked"], REVOKED_CHANNEL, row["key"])
    fixes = await _delete_track(connection, tenant_id, device_id)
    async with connection.transaction():
        # Nobody stores a fix of it from here on; what was stored meanwhile goes with it.
        await connection.fetch(_COMPACTION_SQL["lock_device"], [tenant_id], [device_id])
        fixes += await _delete_track(connection, tenant_id, device_id)
        await connection.execute(_SQL["remove"], tenant_id, device_id)
        await audit.note(connection, tenant_id, audit.OPERATOR, "device.remove", name, fixes=fixes)
        await connection.execute(_TENANT_SQL["notify_erased"], ERASED_CHANNEL, f"{DEVICES}{tenant_id}")
    return fixes


async def _delete_track(connection: asyncpg.Connection, tenant_id: int, device_id: int) -> int:
    total = 0
    for row in await connection.fetch(_EXPIRY_SQL["partitions"]):
        statement = on_partition(_SQL["delete_track"], row["name"])
        segments = ROWS_AT_ONCE
        while segments == ROWS_AT_ONCE:
            segments, fixes = await connection.fetchrow(statement, tenant_id, device_id, ROWS_AT_ONCE)
            total += fixes
            await asyncio.sleep(0)
    return total
