"""Devices come into being at first sight, up to the tenant's limit, each with a live position."""

import asyncio

import asyncpg
import pytest

from fleetwire.postgres import statements

DEVICE = statements.load("store/device")


async def test_the_same_names_at_once_become_the_same_devices(database, owner, acme):
    names = [f"van-{number}" for number in range(20)]
    async with asyncpg.create_pool(
        database, min_size=8, max_size=8, server_settings={"role": "fleetwire_ingest"}
    ) as pool:
        answers = await asyncio.gather(
            *(
                pool.fetch(DEVICE["create_devices"], acme.tenant_id, names[start:] + names[:start])
                for start in range(20)
            )
        )
    assert len({frozenset((row["name"], row["device_id"]) for row in rows) for rows in answers}) == 1
    assert len(answers[0]) == 20
    assert await owner.fetchval("SELECT count(*) FROM device NATURAL JOIN live_position") == len(acme.device_ids) + 20


async def test_devices_beyond_the_limit_are_left_out_and_known_ones_stay_found(owner, ingest, acme):
    await owner.execute("UPDATE tenant SET device_limit = $1", len(acme.device_ids) + 2)
    rows = await ingest.fetch(DEVICE["create_devices"], acme.tenant_id, ["z", "truck-1", "y", "x", "z"])
    assert {row["name"] for row in rows} == {"z", "truck-1", "y"}
    assert await ingest.fetch(DEVICE["create_devices"], acme.tenant_id, ["x"]) == []


async def test_senders_at_once_stay_within_the_limit(database, owner, acme):
    await owner.execute("UPDATE tenant SET device_limit = $1", len(acme.device_ids) + 5)
    async with asyncpg.create_pool(
        database, min_size=8, max_size=8, server_settings={"role": "fleetwire_ingest"}
    ) as pool:
        await asyncio.gather(
            *(pool.fetch(DEVICE["create_devices"], acme.tenant_id, [f"n-{number}"]) for number in range(24))
        )
    assert await owner.fetchval("SELECT count(*) FROM device") == len(acme.device_ids) + 5


async def test_a_name_is_looked_up_within_its_tenant(ingest, acme, rival):
    rows = await ingest.fetch(DEVICE["find_devices"], acme.tenant_id, ["truck-2", "no-such"])
    assert [(row["device_id"], row["name"]) for row in rows] == [(acme.device_ids[1], "truck-2")]
    other = await ingest.fetch(DEVICE["find_devices"], rival.tenant_id, ["truck-2"])
    assert other[0]["device_id"] == rival.device_ids[1] != acme.device_ids[1]


async def test_an_unknown_tenant_is_an_error(ingest):
    with pytest.raises(asyncpg.NoDataFoundError):
        await ingest.fetch(DEVICE["create_devices"], 4711, ["x"])


async def test_a_list_goes_on_after_the_last_name(app, acme, rival):
    async with app.transaction():
        await app.execute("SELECT set_tenant($1)", acme.tenant_id)
        first = await app.fetch(DEVICE["list_devices"], acme.tenant_id, "", 3)
        rest = await app.fetch(DEVICE["list_devices"], acme.tenant_id, first[-1]["name"], 3)
        foreign = await app.fetch(DEVICE["list_devices"], rival.tenant_id, "", 3)
    assert [row["name"] for row in [*first, *rest]] == [f"truck-{number}" for number in range(1, 6)]
    assert foreign == []
