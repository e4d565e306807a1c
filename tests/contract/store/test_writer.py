"""Committers go on after every error, and answer the senders of the group that met it."""

import asyncio

import pytest

from fleetwire.errors import Overloaded
from fleetwire.postgres.pool import open_pool
from fleetwire.settings import Settings
from fleetwire.store import writer as writer_module
from fleetwire.store.partitions import Partitions
from fleetwire.store.writer import Writer
from harness.error_proxy import ErrorProxy
from harness.writing import Writing, _nothing_known, at

FIRST_MILLIS = 1_763_768_400_000


@pytest.fixture
def proxy(database):
    with ErrorProxy(database) as between:
        yield between


@pytest.fixture
async def write(proxy, acme):
    """One committer, whose statements wait for locks for a fifth of a second."""
    pool = await open_pool(proxy.dsn, "fleetwire_ingest", max_size=4, lock_timeout_millis=200)
    writer = Writer(
        pool,
        partitions=Partitions(pool),
        settings=Settings(writer_connections=1),
        known_millis=_nothing_known,
        on_stored=lambda _: None,
    )
    await writer.start()
    yield Writing(writer, acme.tenant_id)
    await writer.stop(within_secs=5)
    pool.terminate()


@pytest.mark.parametrize("sqlstate", ["25006", "42501", "XX001", "57P01"])
async def test_a_committer_goes_on_after_an_error_in_looking_for_locked_devices(owner, proxy, write, acme, sqlstate):
    device_id = acme.device_ids[0]
    async with asyncio.timeout(20):
        async with owner.transaction():
            await owner.execute("SELECT FROM live_position WHERE device_id = $1 FOR UPDATE", device_id)
            with proxy.answering(sqlstate, containing=b"SKIP LOCKED"):
                held_up = asyncio.create_task(write.store(device_id, at([FIRST_MILLIS])))
                await asyncio.sleep(1)
        assert await held_up == (1, 0)
        assert await write.store(device_id, at([FIRST_MILLIS, FIRST_MILLIS + 1])) == (1, 1)


async def test_a_group_that_fails_outside_of_its_transaction_is_answered(write, acme, monkeypatch):
    """Its senders are told to come back, and the next group is committed."""
    group = writer_module.Group

    def failing(batches):
        monkeypatch.setattr(writer_module, "Group", group)
        raise MemoryError

    monkeypatch.setattr(writer_module, "Group", failing)
    async with asyncio.timeout(20):
        with pytest.raises(Overloaded, match="store_failed"):
            await write.store(acme.device_ids[0], at([FIRST_MILLIS]))
        assert await write.store(acme.device_ids[0], at([FIRST_MILLIS])) == (1, 0)
