"""A tenant that is erased while a worker runs leaves its memory, also when the worker was not told."""

import asyncio
import json

import pytest

from fleetwire._core import Decoder, Group, Recent, RowTypes
from fleetwire.fanout.feed.feed_cursor import FeedCursor
from fleetwire.fanout.feed.send_budget import SendBudget
from fleetwire.fleet.devices.removal import remove_device
from fleetwire.live.state import Live
from fleetwire.live.subscription import WHOLE, Watch
from fleetwire.live.tenant_erasure_listener import TenantErasureListener
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pool import open_pool
from fleetwire.settings import Settings
from fleetwire.store.maintenance.rounds import exclusive
from fleetwire.store.tenant_erasure import erase
from harness.writing import at, writing

FIRST_MILLIS = 1_763_768_400_000
NOWHERE = RowTypes(track_segment=0, moved_position=0, packed_int4=0)


class Worker:
    """What one process has in memory of tenants, and where it hears."""

    def __init__(self, dsn, pool):
        self.live = Live(Settings(redis_url="redis://127.0.0.1:1"))
        self.listener = Listener(dsn)
        self.erased = []
        self.outdated = []
        self.erasures = TenantErasureListener(
            self.listener,
            pool,
            known=self.live.tenants,
            erased=self._forget,
            outdated=self.outdated.append,
            reload=lambda tenant_id: self.live.reload(pool, tenant_id, dropped=lambda: None),
        )

    def _forget(self, tenant_id):
        self.live.erase(tenant_id)
        self.erased.append(tenant_id)

    async def until(self, holds):
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
async def pool(database):
    async with await open_pool(database, "fleetwire_ingest", 1, 2) as opened:
        yield opened


@pytest.fixture
async def worker(database, pool, acme, rival):
    for fleet in (acme, rival):
        async with writing(database, fleet.tenant_id) as write:
            for device_id in fleet.device_ids[:2]:
                await write.store(device_id, at([FIRST_MILLIS]))
    made = Worker(database, pool)
    await made.live.warm(pool)
    made.live.set_order(acme.tenant_id, "order 7", acme.device_ids)
    made.erasures.start()
    yield made
    await made.listener.stop()
    await made.erasures.stop()


def stored_now(fleet):
    """A group as it is when its commit has been answered."""
    body = json.dumps(at([FIRST_MILLIS + 1_000])).encode()
    batch = Decoder(max_fixes=10, future_millis=600_000).json(body, now_millis=FIRST_MILLIS, earliest_millis=0)
    group = Group([(fleet.tenant_id, fleet.device_ids[0], batch)])
    return group.seal(
        last_fixed_millis=[None],
        stored=[],
        recent=Recent(max_fixes=0),
        received_at_millis=FIRST_MILLIS,
        row_types=NOWHERE,
    )


def devices(live, fleet):
    return len(json.loads(live.geojson(fleet.tenant_id))["features"])


async def test_an_erased_tenant_leaves_the_memory_and_does_not_come_back(database, worker, acme, rival):
    live = worker.live
    await worker.listener.start()
    live.advance(stored_now(acme))
    other = Live(Settings(redis_url="redis://127.0.0.1:1"))
    other.meet(acme.tenant_id, acme.device_ids[0], "truck-1")
    other.advance(stored_now(acme))
    ((_, late_message),) = other.departed()
    assert (devices(live, acme), devices(live, rival), len(live)) == (2, 2, 4)
    async with exclusive(database) as connection:
        await erase(connection, "acme")
    await worker.until(lambda: worker.erased)
    assert live.tenants() == [rival.tenant_id]
    assert (len(live), live.departed()) == (2, []), "nor are other workers told any more"
    # What was on its way: from another worker, out of a commit of this one, and a device that was looked up.
    live.arrive(acme.tenant_id, late_message)
    live.advance(stored_now(acme))
    live.meet(acme.tenant_id, acme.device_ids[0], "truck-1")
    live.set_order(acme.tenant_id, "order 7", acme.device_ids)
    assert (live.tenants(), live.departed()) == ([rival.tenant_id], [])
    live.advance(stored_now(rival))
    assert devices(live, rival) == 2


async def test_a_worker_that_was_not_told_finds_out_when_it_listens(database, worker, acme, rival):
    async with exclusive(database) as connection:
        await erase(connection, "acme")
    assert devices(worker.live, acme) == 2
    await worker.listener.start()
    await worker.until(lambda: worker.erased == [acme.tenant_id])
    assert worker.live.tenants() == [rival.tenant_id]


async def test_a_removed_device_leaves_the_memory_and_the_others_stay(database, worker, acme, rival):
    await worker.listener.start()
    async with exclusive(database) as connection:
        assert await remove_device(connection, "acme", "truck-1") == 1
    await worker.until(lambda: devices(worker.live, acme) == 1)
    assert (set(worker.outdated), worker.erased) == ({acme.tenant_id}, [])
    assert devices(worker.live, rival) == 2


async def test_a_worker_that_missed_a_removal_finds_out_when_it_listens(database, worker, acme):
    await worker.listener.start()
    # The first look notes the count of removals.
    await worker.until(lambda: worker.erasures._removals)
    await worker.listener.stop()
    async with exclusive(database) as connection:
        await remove_device(connection, "acme", "truck-1")
    assert devices(worker.live, acme) == 2
    worker.erasures._unsure.set()
    await worker.until(lambda: devices(worker.live, acme) == 1)
    assert worker.outdated == [acme.tenant_id]


async def test_a_watcher_that_is_still_there_is_given_an_empty_snapshot(worker, acme):
    outbox = FeedCursor(worker.live, acme.tenant_id, form="json", turns=SendBudget())
    outbox.ask(Watch(), WHOLE)
    (snapshot,) = await outbox.next_messages()
    assert len(json.loads(snapshot)["positions"]) == 2
    worker.live.erase(acme.tenant_id)
    outbox.begin_anew()
    resync, snapshot = await asyncio.wait_for(outbox.next_messages(), 5)
    assert json.loads(resync)["type"] == "resync"
    assert json.loads(snapshot)["positions"] == []
    outbox.close()
