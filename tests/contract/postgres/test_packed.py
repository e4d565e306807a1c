"""Packed columns: the database's own packing, its unpacking, and the core's agree."""

import random

import asyncpg
import pytest

from fleetwire.postgres.migrate import migrations

INT4 = 2**31


def columns(seed):
    """Columns of every kind: near, far, with nulls, of one value."""
    chance = random.Random(seed)
    near = [chance.randrange(-9, 9) + 481_371_540 for _ in range(50)]
    far = [chance.randrange(-INT4 + 1, INT4) for _ in range(20)]
    holes = [None, *(chance.choice([None, chance.randrange(-INT4 + 1, INT4)]) for _ in range(20)), 7]
    return [near, far, holes, [chance.randrange(INT4)], [-INT4 + 1, INT4 - 1, -INT4 + 1], [0, 65_535, -65_536, 32_768]]


@pytest.mark.parametrize("seed", range(3))
async def test_what_the_database_packs_it_unpacks(owner, seed):
    for column in columns(seed):
        assert await owner.fetchval("SELECT unpacked(packed($1::int[]))", column) == column
    assert await owner.fetchval("SELECT packed($1::int[]) IS NULL", [None, None])
    assert await owner.fetchval("SELECT packed(NULL) IS NULL")


async def test_the_core_packs_what_the_database_unpacks(owner, acme, write):
    times = [1_763_683_200_000 + second * 1_000 for second in range(5)]
    latitudes = [0.0, 90.0, -90.0, 48.1371541, 48.1371544]
    await write.store(
        acme.device_ids[0],
        [
            {"timestamp": time, "latitude": latitude, "longitude": 2 * latitude}
            for time, latitude in zip(times, latitudes, strict=True)
        ],
    )
    row = await owner.fetchrow("SELECT unpacked(offset_millis), unpacked(lat_e7), unpacked(lon_e7) FROM track_segment")
    assert list(row) == [
        [0, 1_000, 2_000, 3_000, 4_000],
        [0, 900_000_000, -900_000_000, 481_371_541, 481_371_544],
        [0, 1_800_000_000, -1_800_000_000, 962_743_082, 962_743_088],
    ]


async def test_rows_of_before_say_the_same_after_the_migration(empty_database):
    """Plain arrays were what a segment held up to migration 0011."""
    packing = next(place for place, each in enumerate(migrations()) if each.name == "0012_packed_segments.sql")
    connection = await asyncpg.connect(empty_database)
    try:
        for migration in migrations()[:packing]:
            await connection.execute(migration.sql)
        await connection.execute("""
            INSERT INTO tenant (name) VALUES ('acme');
            SELECT create_devices(tenant_id, '{truck-1}') FROM tenant;
            SELECT ensure_partition('2025-11-22'), ensure_partition('2020-05-01');
            INSERT INTO track_segment (tenant_id, fix_count, device_id, first_at, last_at, received_at,
                offset_millis, lat_e7, lon_e7, altitude_dm, speed_cmps)
            SELECT tenant_id, 3, device_id, day, day + interval '9 s', day,
                '{0,4000,9000}', '{481371540,-900000000,1}', '{1800000000,-1800000000,0}', altitude_dm, '{1,NULL,3}'
            FROM device, (VALUES (timestamptz '2025-11-22 12:00Z', '{5190,NULL,-123}'::int[]),
                ('2020-05-07 00:00Z', NULL)) AS days (day, altitude_dm)
        """)
        before = await connection.fetch("SELECT * FROM fix ORDER BY fixed_at")
        await connection.execute(migrations()[packing].sql)
        assert await connection.fetch("SELECT * FROM fix ORDER BY fixed_at") == before
        assert len(before) == 6
    finally:
        await connection.close()
