"""The live position of one device, for a driver: from the database, where only that row is read."""

import asyncpg

from fleetwire._core import LiveTable
from fleetwire.errors import DatabaseAway
from fleetwire.postgres import statements
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.settings import Settings

_SQL = statements.load("live/live")


async def own_position(pool: asyncpg.Pool, settings: Settings, tenant_id: int, device_id: int) -> bytes:
    """The device's newest position as GeoJSON of the same form as a whole tenant's; without one, no feature.

    Raises:
        DatabaseAway: it does not answer.
    """
    try:
        async with tenant_transaction(pool, tenant_id) as connection:
            row = await connection.fetchrow(_SQL["positions_of"], tenant_id, [device_id])
    except TRANSIENT:
        raise DatabaseAway from None
    table = LiveTable(
        moving_cmps=round(settings.feed_moving_mps * 100), offline_millis=round(settings.feed_offline_secs * 1000)
    )
    if row is not None:
        table.load(*row)
    return table.geojson(tenant_id)
