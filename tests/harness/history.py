"""Long histories made by SQL: merged rows of an hour at a fix a second, which no sender could send within a test."""

from datetime import datetime, timedelta

import asyncpg

# A second between the fixes, as the core packs them. A look-up of times does not read where they were.
_ROWS = """
INSERT INTO track_merged (
    tenant_id, fix_count, device_id, first_at, last_at, received_at, offset_millis, lat_e7, lon_e7
)
SELECT $1, 3600, $2, hour, hour + interval '3599 seconds', hour + interval '1 hour',
    ROW(0, 1000, steps, NULL)::packed_int4, ROW(0, 1, zeros, NULL)::packed_int4, ROW(0, 1, zeros, NULL)::packed_int4
FROM generate_series($3::timestamptz, $4::timestamptz - interval '1 hour', interval '1 hour') AS hour,
    (SELECT 0::int2 || array_fill(1::int2, ARRAY[3599]) AS steps, array_fill(0::int2, ARRAY[3600]) AS zeros) AS columns
"""
_WATERMARK = """
UPDATE live_position SET last_fixed_at = $3, lat_e7 = 0, lon_e7 = 0, received_at = $3
WHERE tenant_id = $1 AND device_id = $2
"""


async def store_every_second(
    owner: asyncpg.Connection, tenant_id: int, device_id: int, start: datetime, end: datetime
) -> None:
    """Gives a device a fix a second from `start` until before `end`, both on a full hour, and the last as watermark."""
    days = range((end - start).days + 1)
    for day in [start.date() + timedelta(days=number) for number in days]:
        await owner.execute("SELECT ensure_partition($1)", day)
    partitions = await owner.fetch(
        "SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'track_segment'::regclass"
    )
    for (name,) in partitions:
        await owner.execute("SELECT ensure_merged_partition($1)", name)
    await owner.execute(_ROWS, tenant_id, device_id, start, end)
    await owner.execute(_WATERMARK, tenant_id, device_id, end - timedelta(seconds=1))
    await owner.execute("ANALYZE live_position")
