"""Which devices work on which order."""

from collections.abc import Callable, Sequence

import asyncpg

from fleetwire.errors import Problem
from fleetwire.store import statements
from fleetwire.store.pool import tenant_transaction

_SQL = statements.load("order")
_DEVICE_SQL = statements.load("device")


async def set_devices(
    pool: asyncpg.Pool,
    tenant_id: int,
    order: str,
    devices: Sequence[str],
    *,
    on_stored: Callable[[list[int]], object],
) -> None:
    """Gives an order these devices and no others; none ends it.

    `on_stored` is told the devices' numbers as soon as they are committed: of two changes of one order at the same
    time, the one that is stored last is told last.

    Raises:
        Problem: 404 `device_unknown`; nothing is changed.
    """
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(_SQL["lock_order"], tenant_id, order)
        rows = await connection.fetch(_DEVICE_SQL["find_devices"], tenant_id, list(devices))
        if unknown := set(devices) - {row["name"] for row in rows}:
            raise Problem("device_unknown", f"There is no device {min(unknown)!r}.", status=404)
        device_ids = sorted(row["device_id"] for row in rows)
        await connection.execute(_SQL["clear_order"], tenant_id, order)
        await connection.execute(_SQL["fill_order"], tenant_id, order, device_ids)
    on_stored(device_ids)
