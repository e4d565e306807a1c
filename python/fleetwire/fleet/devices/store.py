"""A tenant's devices in pages, in the order of their names."""

from datetime import datetime

import asyncpg
import msgspec

from fleetwire.postgres import statements
from fleetwire.postgres.pool import tenant_transaction

_SQL = statements.load("store/device")


class DeviceShown(msgspec.Struct, frozen=True):
    """A device; times in ms since 1970, null for one that has sent nothing yet."""

    name: str
    created_at: int
    last_fixed_at: int | None
    received_at: int | None


class DevicesPage(msgspec.Struct, frozen=True):
    """`next` is the name to go on after, null on the last page."""

    devices: list[DeviceShown]
    next: str | None


async def list_page(pool: asyncpg.Pool, tenant_id: int, *, after: str, limit: int) -> DevicesPage:
    """The devices that follow a name ('' for the first page), at most `limit`."""
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch(_SQL["list_devices"], tenant_id, after, limit + 1)
    shown = [
        DeviceShown(row["name"], millis, _millis(row["last_fixed_at"]), _millis(row["received_at"]))
        for row in rows[:limit]
        if (millis := _millis(row["created_at"])) is not None
    ]
    return DevicesPage(shown, shown[-1].name if len(rows) > limit else None)


def _millis(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
