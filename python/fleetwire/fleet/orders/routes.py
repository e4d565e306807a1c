"""`/api/orders/{order}/devices`: which devices work on an order, for feeds that watch orders."""

from collections.abc import Callable
from typing import Annotated

import asyncpg
import msgspec
from litestar import Router, delete, put
from litestar.di import NamedDependency

from fleetwire.access.identity.guards import requires
from fleetwire.access.identity.principal import Principal
from fleetwire.errors import Problem
from fleetwire.fleet.orders import store
from fleetwire.live.subscription import LONGEST_NAME, MOST_DEVICES
from fleetwire.runtime import asgi
from fleetwire.runtime.names import RULE, is_name

SetLiveOrder = Callable[[int, str, list[int]], None]
"""Sets, on every worker, the devices of an order: tenant, order, numbers of the devices."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00]*$")]


class OrderDevices(msgspec.Struct):
    """The devices of an order."""

    devices: Annotated[list[_Name], msgspec.Meta(max_length=MOST_DEVICES)]


@put("/api/orders/{order:str}/devices", guards=[requires("dispatch")], status_code=204, summary="Say who does an order")
async def set_order_devices(
    principal: NamedDependency[Principal],
    app_pool: NamedDependency[asyncpg.Pool],
    set_live_order: NamedDependency[SetLiveOrder],
    order: str,
    data: OrderDevices,
) -> None:
    """Gives the order these devices and no others. Feeds that watch it see them from the next tick on.

    Raises:
        Problem: 404 `device_unknown`; 400 `order_name`; 503 `database_unavailable`.
    """
    await _set(app_pool, set_live_order, principal.tenant_id, order, data.devices)


@delete("/api/orders/{order:str}/devices", guards=[requires("dispatch")], summary="End an order's watch")
async def end_order_devices(
    principal: NamedDependency[Principal],
    app_pool: NamedDependency[asyncpg.Pool],
    set_live_order: NamedDependency[SetLiveOrder],
    order: str,
) -> None:
    """Takes all devices from the order; feeds that watch it are told that they left.

    Raises:
        Problem: 400 `order_name`; 503 `database_unavailable`.
    """
    await _set(app_pool, set_live_order, principal.tenant_id, order, [])


async def _set(
    app_pool: asyncpg.Pool, set_live_order: SetLiveOrder, tenant_id: int, veiled: str, devices: list[str]
) -> None:
    order = asgi.unveil(veiled)
    if not is_name(order, LONGEST_NAME):
        raise Problem("order_name", f"An order's name has 1 to {LONGEST_NAME} {RULE}.", status=400)
    await store.set_devices(
        app_pool,
        tenant_id,
        order,
        devices,
        on_stored=lambda device_ids: set_live_order(tenant_id, order, list(device_ids)),
    )


orders_router = Router("/", route_handlers=[set_order_devices, end_order_devices], tags=["Orders"])
