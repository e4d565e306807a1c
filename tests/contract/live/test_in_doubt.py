"""The live table after commits whose answer was lost: it shows what the database has, and other workers are told."""

import asyncio
import json

import pytest

from fleetwire.live.in_doubt import RETRY_SECS, InDoubtCommits
from fleetwire.live.state import Live
from fleetwire.postgres.pool import open_pool
from fleetwire.settings import Settings
from harness.proxy import Proxy
from harness.writing import at

FIRST_MILLIS = 1_763_768_400_000
PATIENCE_SECS = 20


class Worker:
    """A live table with its doubts, and how often watchers would have been woken."""

    def __init__(self, pool):
        self.live = Live(Settings(redis_url="redis://127.0.0.1:1"))
        self.woken = 0
        self.doubts = InDoubtCommits(self.live, pool, moved=self._wake)

    def _wake(self):
        self.woken += 1

    def times(self, tenant_id):
        """Fixed-at times of what `/api/live` shows, by device."""
        features = json.loads(self.live.geojson(tenant_id))["features"]
        return {each["properties"]["device"]: each["properties"]["timestamp"] for each in features}

    async def until(self, holds):
        async with asyncio.timeout(PATIENCE_SECS):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
def proxy(database):
    with Proxy(database) as between:
        yield between


@pytest.fixture
async def pool(proxy):
    async with await open_pool(proxy.dsn, "fleetwire_ingest", 1, 2) as opened:
        yield opened


@pytest.fixture
async def worker(pool, acme):
    made = Worker(pool)
    await made.live.warm(pool)
    made.live.departed()
    made.doubts.start()
    yield made
    await made.doubts.stop()


@pytest.fixture
async def names(owner, acme):
    """Of the devices."""
    return {row["device_id"]: row["name"] for row in await owner.fetch("SELECT device_id, name FROM device")}


async def test_what_was_stored_unheard_is_shown_and_told(acme, write, worker, names):
    first, second, third = acme.device_ids[:3]
    for device_id in (first, second, third):
        await write.store(device_id, at([FIRST_MILLIS + device_id]))
    assert worker.times(acme.tenant_id) == {}
    before = worker.live.version(acme.tenant_id)
    worker.doubts.look_again([(acme.tenant_id, first), (acme.tenant_id, second), (acme.tenant_id, 10**9)])
    await worker.until(lambda: not worker.doubts and worker.woken)
    assert worker.times(acme.tenant_id) == {names[each]: FIRST_MILLIS + each for each in (first, second)}
    assert worker.live.version(acme.tenant_id) != before
    ((tenant_id, message),) = worker.live.departed()
    other = Live(Settings())
    for device_id in (first, second):
        other.meet(acme.tenant_id, device_id, names[device_id])
    assert (tenant_id, other.arrive(tenant_id, message)) == (acme.tenant_id, 2)


async def test_a_transaction_that_still_runs_is_waited_for(owner, acme, worker, names):
    busy, free = acme.device_ids[:2]
    move = "UPDATE live_position SET last_fixed_at = to_timestamp($2::bigint / 1000.0), lat_e7 = 1, lon_e7 = 2 "
    await owner.execute(move + "WHERE device_id = $1", free, FIRST_MILLIS)
    async with owner.transaction():
        await owner.execute(move + "WHERE device_id = $1", busy, FIRST_MILLIS + 1)
        worker.doubts.look_again([(acme.tenant_id, busy), (acme.tenant_id, free)])
        await worker.until(lambda: worker.times(acme.tenant_id) == {names[free]: FIRST_MILLIS})
        assert len(worker.doubts) == 1
    await worker.until(lambda: worker.times(acme.tenant_id).get(names[busy]) == FIRST_MILLIS + 1)
    await worker.until(lambda: len(worker.doubts) == 0)


async def test_a_database_that_is_away_is_asked_again(acme, write, proxy, worker, names):
    device_id = acme.device_ids[0]
    await write.store(device_id, at([FIRST_MILLIS]))
    with proxy.refusing():
        worker.doubts.look_again([(acme.tenant_id, device_id)])
        await asyncio.sleep(2 * RETRY_SECS)
        assert len(worker.doubts) == 1
    await worker.until(lambda: worker.times(acme.tenant_id) == {names[device_id]: FIRST_MILLIS})
    assert len(worker.doubts) == 0
