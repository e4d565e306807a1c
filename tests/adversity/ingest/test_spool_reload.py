"""The spool beside reloads, several workers and fewer workers than before: each folder has an owner, and is drained."""

import asyncio
import signal

import aiohttp
import pytest

from harness.client import Client
from harness.fixes import now_millis, track
from harness.locks import locked
from harness.own_postgres import own_postgres
from harness.process import Server, run, serving, wait_until
from harness.spool_faults import files, health_warnings, queue, read_only, send, until_drained, until_stored
from harness.tenants import Tenant
from harness.valkey import valkey as running_valkey

SETTINGS = {"FLEETWIRE_SPOOL_AFTER_SECS": "1", "FLEETWIRE_UPKEEP_SECS": "0"}
RELOAD_LIMIT_SECS = 60


@pytest.fixture(scope="module")
def postgres():
    with own_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def module_database(postgres):
    return postgres.dsn


@pytest.fixture(scope="module")
def valkey():
    with running_valkey() as server:
        yield server


@pytest.fixture
def spool(scratch_dir):
    return scratch_dir / "spool"


async def _reload(server, client):
    """Replaces all workers, one after the other."""
    old = set(server.workers())
    server.send(signal.SIGHUP)
    await asyncio.to_thread(
        wait_until,
        lambda: len(found := server.workers()) == len(old) and not old & set(found),
        limit_secs=RELOAD_LIMIT_SECS,
        what="all workers are others",
    )
    await client.until("/readyz", 200, within_secs=RELOAD_LIMIT_SECS)


async def _queue_alone(server, tenant, device, fixes):
    """Over a connection of its own, which may reach any worker."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        await queue(Client(server.url, session), tenant, device, fixes)


async def test_a_reload_beside_a_spool_replaces_the_worker_and_stores_what_it_left(module_database, session, spool):
    tenant = await asyncio.to_thread(Tenant, module_database)
    fixes = track(60)
    with serving("--database-url", module_database, "--spool", spool, settings=SETTINGS) as server:
        client = Client(server.url, session)
        assert (await send(client, tenant, "van", fixes[:10])).status == 200
        async with locked(tenant, "van"):
            await queue(client, tenant, "van", fixes[10:20])
            await _reload(server, client)
            await queue(client, tenant, "van", fixes[20:30])
            await _reload(server, client)
            await queue(client, tenant, "van", fixes[30:40])
            assert files(spool, "spool")
        await until_stored(tenant, "van", fixes[:40])
        await until_drained(spool)
        assert (await send(client, tenant, "van", fixes)).receipt == (20, 40, {})
        # Folders are used again: one of each worker there was at once, and one that was being drained.
        assert len(list(spool.iterdir())) <= 3
        assert server.stop() == 0


async def test_a_reload_with_a_full_spool_gets_a_ready_worker_and_loses_nothing(module_database, session, spool):
    tenant = await asyncio.to_thread(Tenant, module_database)
    settings = {**SETTINGS, "FLEETWIRE_SPOOL_MAX_BYTES": str(1024 * 1024)}
    fixes = track(60_000, start_millis=now_millis() - 80_000_000)
    queued = fixes[:1]
    with serving("--database-url", module_database, "--spool", spool, settings=settings) as server:
        client = Client(server.url, session)
        for device in ("held", "free"):
            assert (await send(client, tenant, device, fixes[:1])).status == 200
        async with locked(tenant, "held"):
            for start in range(1, len(fixes), 5_000):
                answer = await send(client, tenant, "held", fixes[start : start + 5_000])
                if answer.status == 202:
                    queued += fixes[start : start + 5_000]
                else:
                    assert answer.refusal == (503, "spool_full")
            assert 1 < len(queued) < len(fixes)
            await _reload(server, client)
            # The room of the worker that left is not there twice.
            answer = await send(client, tenant, "held", fixes[-5_000:])
            assert answer.refusal == (503, "spool_full")
            assert (await send(client, tenant, "free", fixes[1:11])).receipt == (10, 0, {})
        await until_stored(tenant, "held", queued)
        await until_drained(spool)
        assert server.stop() == 0


async def test_several_workers_have_a_spool_each_and_are_reloaded_beside_them(module_database, session, spool, valkey):
    tenant = await asyncio.to_thread(Tenant, module_database)
    devices = [f"van-{number}" for number in range(24)]
    fixes = track(30)
    arguments = ("--database-url", module_database, "--spool", spool, "--workers", "2", "--redis-url", valkey.url)
    with serving(*arguments, settings=SETTINGS) as server:
        client = Client(server.url, session)
        for device in devices:
            assert (await send(client, tenant, device, fixes[:1])).status == 200
        async with locked(tenant, *devices):
            await asyncio.gather(*(_queue_alone(server, tenant, device, fixes[1:10]) for device in devices))
            assert len({path.parent for path in files(spool, "spool")}) == 2
            await _reload(server, client)
            await asyncio.gather(*(_queue_alone(server, tenant, device, fixes[10:20]) for device in devices))
        for device in devices:
            await until_stored(tenant, device, fixes[:20])
        await until_drained(spool)
        assert server.stop() == 0


async def test_folders_of_workers_that_do_not_exist_any_more_are_drained_by_those_that_do(
    module_database, session, spool, valkey
):
    tenant = await asyncio.to_thread(Tenant, module_database)
    devices = [f"van-{number}" for number in range(24)]
    fixes = track(20)
    many = ("--database-url", module_database, "--spool", spool, "--workers", "2", "--redis-url", valkey.url)
    server = Server(*many, settings=SETTINGS).start()
    client = Client(server.url, session)
    for device in devices:
        assert (await send(client, tenant, device, fixes[:1])).status == 200
    async with read_only(module_database):
        await asyncio.gather(*(_queue_alone(server, tenant, device, fixes[1:]) for device in devices))
        await asyncio.to_thread(server.kill)
        server.close()
    assert len({path.parent for path in files(spool, "spool")}) == 2
    with serving("--database-url", module_database, "--spool", spool, settings=SETTINGS) as alone:
        for device in devices:
            await until_stored(tenant, device, fixes)
        await until_drained(spool)
        assert "put aside" not in await health_warnings(Client(alone.url, session))


def test_a_spool_that_cannot_be_used_is_named_before_anything_starts(module_database, scratch_dir):
    (scratch_dir / "spool").write_bytes(b"")
    done = run("serve", "--database-url", module_database, "--spool", scratch_dir / "spool", limit_secs=30)
    assert done.returncode == 2
    assert "The spool folder" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_reload_in_the_middle_of_an_outage_leaves_the_spool_in_use(module_database, session, spool):
    tenant = await asyncio.to_thread(Tenant, module_database)
    fixes = track(40)
    with serving("--database-url", module_database, "--spool", spool, settings=SETTINGS) as server:
        client = Client(server.url, session)
        assert (await send(client, tenant, "van", fixes[:1])).status == 200
        async with read_only(module_database):
            await queue(client, tenant, "van", fixes[1:10])
            await _reload(server, client)
            await queue(client, tenant, "van", fixes[10:20])
        await until_stored(tenant, "van", fixes[:20])
        await until_drained(spool)
        assert (await send(client, tenant, "van", fixes[20:])).receipt == (20, 0, {})
        assert server.stop() == 0
