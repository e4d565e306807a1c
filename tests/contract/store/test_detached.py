"""A removal of a partition that was interrupted half way is finished or undone, and harms no other batch meanwhile."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fleetwire.errors import Overloaded
from fleetwire.store.maintenance.fix_expiry import Expiry
from harness.writing import at, fixes_of, writing

DAY_MILLIS = 86_400_000
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
NOON_MILLIS = int(NOON.timestamp() * 1000)
OLD_MILLIS = NOON_MILLIS - 6 * DAY_MILLIS
OLD_PARTITION = f"track_segment_d{NOON - timedelta(days=6):%Y%m%d}"
HALF_DETACHED = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"


async def at_once(_):
    return True


def expiry(connection, *, days):
    return Expiry(connection, retention_days=days, pace=at_once)


@asynccontextmanager
async def snapshot(dsn):
    """What pg_dump holds: a snapshot, and a lock on every table."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetch("SELECT count(*) FROM fix")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def half_detached(dsn, connection):
    """Somebody holds a snapshot, and the removal of the old day's partition was given up while it waited for that."""
    async with snapshot(dsn):
        await connection.execute("SET lock_timeout = '200ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await connection.execute(f"ALTER TABLE track_segment DETACH PARTITION {OLD_PARTITION} CONCURRENTLY")
        await connection.execute("SET lock_timeout = '5s'")
        assert await connection.fetchval(HALF_DETACHED) == 1
        yield


@pytest.fixture
async def stored(acme, write):
    """Two devices with ten fixes of the old day and ten of the newest."""
    for device_id in acme.device_ids[:2]:
        for start in (OLD_MILLIS, NOON_MILLIS):
            assert await write.store(device_id, at(range(start, start + 10))) == (10, 0)


@pytest.mark.parametrize("is_known", [True, False], ids=["by_its_memory_it_is_there", "newly_started"])
async def test_a_batch_of_a_half_detached_day_alone_is_refused(database, owner, acme, write, stored, is_known):
    """All come together, as one group, to a worker that knows the partition from before, or to a new one."""
    async with half_detached(database, owner), writing(database, acme.tenant_id) as other:
        to = write if is_known else other
        late = asyncio.ensure_future(to.store(acme.device_ids[0], at([OLD_MILLIS + 500])))
        others = [asyncio.ensure_future(to.store(each, at([NOON_MILLIS + 500]))) for each in acme.device_ids[1:]]
        async with asyncio.timeout(5):
            assert await asyncio.gather(*others) == [(1, 0)] * len(others)
            with pytest.raises(Overloaded) as caught:
                await late
        assert (caught.value.code, caught.value.status) == ("day_unavailable", 503)
        # It is not put beside the one that is being removed either.
        assert await owner.fetchval(HALF_DETACHED) == 1


async def test_a_day_that_has_not_expired_any_more_comes_back(database, owner, acme, write, stored):
    """A retention was raised after the removal began. What was erased meanwhile does not come back with it."""
    before = await fixes_of(owner)
    async with half_detached(database, owner):
        assert len(await fixes_of(owner)) == 20, "the day is invisible"
        await asyncio.sleep(1.1)
        await expiry(owner, days=10).settle(now_millis=NOON_MILLIS)
        assert await owner.fetchval(HALF_DETACHED) == 1, "it is in use, and waited for by nobody"
    await owner.execute("DELETE FROM device WHERE device_id = $1", acme.device_ids[1])
    await expiry(owner, days=10).settle(now_millis=NOON_MILLIS)
    assert await owner.fetchval(HALF_DETACHED) == 0
    assert await fixes_of(owner) == [row for row in before if row[1] == "truck-1"]
    assert await write.store(acme.device_ids[0], at(range(OLD_MILLIS, OLD_MILLIS + 20))) == (10, 10)


async def test_a_detached_table_is_attached_again_too(database, owner, acme, write, stored):
    """The process died between the removal and the drop. Nobody makes another partition in its place meanwhile."""
    before = await fixes_of(owner)
    await owner.execute(f"ALTER TABLE track_segment DETACH PARTITION {OLD_PARTITION}")
    with pytest.raises(Overloaded, match="day"):
        await write.store(acme.device_ids[0], at([OLD_MILLIS + 500]))
    await expiry(owner, days=0).settle(now_millis=NOON_MILLIS)
    assert await fixes_of(owner) == before
    assert await write.store(acme.device_ids[0], at([OLD_MILLIS, OLD_MILLIS + 500])) == (1, 1)


async def test_an_expired_day_is_dropped_in_the_next_round(database, owner, acme, stored):
    async with half_detached(database, owner):
        pass
    await expiry(owner, days=4).settle(now_millis=NOON_MILLIS)
    assert await owner.fetchval("SELECT to_regclass($1)", OLD_PARTITION) is None
    assert len(await fixes_of(owner)) == 20


async def test_no_removal_begins_under_a_snapshot_that_is_held_for_long(database, owner, acme, stored):
    async with snapshot(database):
        await asyncio.sleep(1.1)
        done = await expiry(owner, days=4).run(now_millis=NOON_MILLIS)
        assert (done.partitions_dropped, await owner.fetchval(HALF_DETACHED)) == (0, 0)
        assert len(await fixes_of(owner)) == 40
    assert (await expiry(owner, days=4).run(now_millis=NOON_MILLIS)).partitions_dropped == 1
