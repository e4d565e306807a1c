"""Which devices work on which order: one table, changed by name or by the assignments that drivers are told of."""

from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from fleetwire.errors import Problem
from fleetwire.postgres import statements
from fleetwire.postgres.pool import tenant_transaction

CHANNEL: Final = "fleetwire_order"
"""What is notified: `<tenant_id> <order>`."""

_SQL = statements.load("fleet/orders/order")
_DEVICE_SQL = statements.load("store/device")


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
        await connection.execute(_SQL["notify"], CHANNEL, f"{tenant_id} {order}")
    on_stored(device_ids)


async def follow_assignment(
    connection: asyncpg.Connection, tenant_id: int, order: str, device: str, state: str
) -> list[int] | None:
    """Changes an order within the transaction of the assignment that a driver is told of.

    `assigned` adds the driver's device, `withdrawn` takes it away, `offered` changes nothing yet.

    Returns:
        The devices of the order if it has others than before.
    """
    statement = {"assigned": "assign", "withdrawn": "withdraw"}.get(state)
    if statement is None:
        return None
    await connection.execute(_SQL["lock_order"], tenant_id, order)
    done: str = await connection.execute(_SQL[statement], tenant_id, order, device)
    if done.endswith(" 0"):
        return None
    await connection.execute(_SQL["notify"], CHANNEL, f"{tenant_id} {order}")
    return [row["device_id"] for row in await connection.fetch(_SQL["devices_of"], tenant_id, order)]


async def orders_of(pool: asyncpg.Pool, tenant_id: int, driver: str) -> frozenset[str]:
    """The orders whose rooms are open to a driver, who is named by its device, or by itself where it has none."""
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch(_SQL["orders_of"], tenant_id, driver, f"driver:{driver}")
    return frozenset(row["order_name"] for row in rows)
