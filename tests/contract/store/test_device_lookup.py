"""Looking a device up takes no longer than a sender's patience, holds out against cuts, and its queue has an end."""

import asyncio
import time
from contextlib import asynccontextmanager

import asyncpg
import pytest

from fleetwire.errors import DatabaseAway, Overloaded
from fleetwire.postgres.pool import open_pool
from fleetwire.store import devices as devices_module
from fleetwire.store.devices import Devices
from fleetwire.telemetry import metrics


@pytest.fixture
async def pool(database):
    pool = await open_pool(database, "fleetwire_ingest", max_size=4)
    yield pool
    pool.terminate()


def devices(pool, *, patience_secs):
    return Devices(pool, patience_secs=patience_secs, on_met=lambda *_: None)


@asynccontextmanager
async def locked_tenant(database, fleet):
    """Nobody creates a device of the tenant while the block runs."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM tenant WHERE tenant_id = $1 FOR UPDATE", fleet.tenant_id)
            yield
    finally:
        await connection.close()


async def test_nobody_waits_longer_than_patience(database, pool, acme):
    asking = devices(pool, patience_secs=1.0)

    async def timed(name):
        started = time.monotonic()
        with pytest.raises(DatabaseAway):
            await asking.resolve(acme.tenant_id, name)
        return time.monotonic() - started

    async with locked_tenant(database, acme):
        first = asyncio.ensure_future(timed("first"))
        await asyncio.sleep(0.5)
        # The second comes while the round of the first is under way, and does not wait for two rounds.
        waited = await asyncio.gather(first, timed("second"))
    assert all(0.9 <= secs < 1.9 for secs in waited), waited
    assert await asking.resolve(acme.tenant_id, "second") > 0


async def test_who_waits_gets_the_number_when_the_database_is_free_again(database, pool, owner, acme):
    asking = devices(pool, patience_secs=10.0)
    async with locked_tenant(database, acme):
        waiting = [asyncio.ensure_future(asking.resolve(acme.tenant_id, name)) for name in ("a", "b", "a")]
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in waiting)
    a, b, same = await asyncio.gather(*waiting)
    assert a == same
    assert dict(await owner.fetch("SELECT name, device_id FROM device WHERE name IN ('a', 'b')")) == {"a": a, "b": b}


async def test_a_connection_that_is_cut_is_no_reason_to_refuse(database, pool, owner, acme):
    asking = devices(pool, patience_secs=10.0)
    async with locked_tenant(database, acme):
        waiting = asyncio.ensure_future(asking.resolve(acme.tenant_id, "van"))
        async with asyncio.timeout(10):
            cut = 0
            while not cut:
                cut = await owner.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
    assert await waiting == await owner.fetchval("SELECT device_id FROM device WHERE name = 'van'")


async def test_unknown_devices_beyond_the_bound_are_told_to_come_back(database, pool, acme, rival, monkeypatch):
    monkeypatch.setattr(devices_module, "ASKED_DEVICES", 3)
    monkeypatch.setattr(devices_module, "ASKED_OF_A_TENANT", 2)
    asking = devices(pool, patience_secs=10.0)
    refused = metrics.REGISTRY.get_sample_value("fleetwire_store_device_lookups_refused_total")
    async with locked_tenant(database, acme), locked_tenant(database, rival):
        waiting = [asyncio.ensure_future(asking.resolve(acme.tenant_id, name)) for name in ("a", "b", "b")]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="intake_full"):
            await asking.resolve(acme.tenant_id, "c")
        waiting.append(asyncio.ensure_future(asking.resolve(rival.tenant_id, "d")))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="intake_full"):
            await asking.resolve(rival.tenant_id, "e")
        # A known device needs no place.
        asking.meet(acme.tenant_id, acme.device_ids[0], "truck-1")
        assert await asking.resolve(acme.tenant_id, "truck-1") == acme.device_ids[0]
    assert metrics.REGISTRY.get_sample_value("fleetwire_store_device_lookups_refused_total") == refused + 2
    assert len(set(await asyncio.gather(*waiting))) == 3
    # Every place is free again.
    assert len({await asking.resolve(acme.tenant_id, name) for name in ("c", "e", "f")}) == 3


async def test_a_tenant_at_its_limit_gives_its_places_back(pool, owner, acme, monkeypatch):
    monkeypatch.setattr(devices_module, "ASKED_DEVICES", 2)
    await owner.execute("UPDATE tenant SET device_limit = $1", len(acme.device_ids))
    asking = devices(pool, patience_secs=10.0)
    for name in ("x", "y", "z"):
        with pytest.raises(Exception, match="device_limit"):
            await asking.resolve(acme.tenant_id, name)


async def test_a_lookup_that_ends_early_refuses_who_waits_and_leaves_room(pool, acme):
    """What is told of a new device fails in the middle of a round."""

    def failing(*_):
        raise KeyError

    asking = Devices(pool, patience_secs=10.0, on_met=failing)
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(
            *(asking.resolve(acme.tenant_id, name) for name in ("one", "two")), return_exceptions=True
        )
    assert all(isinstance(each, DatabaseAway | int) for each in outcomes), outcomes
    assert any(isinstance(each, DatabaseAway) for each in outcomes)
    assert (asking._asked_count, asking._asked) == (0, {})
