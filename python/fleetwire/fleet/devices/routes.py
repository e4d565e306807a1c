"""`GET /api/devices`: a tenant's devices in pages, in the order of their names."""

from typing import Annotated, Final

import asyncpg
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.params import Parameter

from fleetwire.access.identity.guards import requires
from fleetwire.access.identity.principal import Principal
from fleetwire.cache.rules import OPTION, Cached
from fleetwire.errors import DatabaseAway
from fleetwire.fleet.devices.store import DevicesPage, list_page
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.store.devices import DEVICES_TAG

MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100
# A new device is seen at once, by the tag; this is how old the time of a device's last fix may be.
FRESH_SECS: Final = 2.0
STALE_SECS: Final = 8.0

_AFTER = Parameter(query="after", description="The name after which the page begins: `next` of the page before.")
_LIMIT = Parameter(query="limit", ge=1, le=MAX_PAGE, description="Devices on the page.")


@get(
    "/api/devices",
    guards=[requires("watch")],
    opt={OPTION: Cached(secs=FRESH_SECS, stale_secs=STALE_SECS, tags=(DEVICES_TAG,))},
    summary="Devices, in pages",
)
async def list_devices(
    principal: NamedDependency[Principal],
    app_pool: NamedDependency[asyncpg.Pool],
    after: Annotated[str, _AFTER] = "",
    limit: Annotated[int, _LIMIT] = DEFAULT_PAGE,
) -> Response[DevicesPage]:
    """Name, creation and last fix of each device; `next` is null on the last page. Times are ms since 1970.

    Raises:
        DatabaseAway: 503 `database_unavailable`.
    """
    try:
        # PostgreSQL takes no text with a zero character, and no name has one.
        page = await list_page(app_pool, principal.tenant_id, after=after.replace("\0", ""), limit=limit)
    except TRANSIENT:
        raise DatabaseAway from None
    return Response(page)


devices_router = Router("/", route_handlers=[list_devices], tags=["Live and history"])
