"""The network to PostgreSQL is cut, goes half-open and slows down under load: receipts stay true, and all heals."""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager

import pytest

from harness.client import Client
from harness.database import stored, until_rows_are_held
from harness.fixes import track
from harness.ledger import Ledger
from harness.process import serving
from harness.proxy import Proxy
from harness.senders import HEAL_SECS, sending

GIVE_UP_SECS = 2
AWAY = {(503, "database_unavailable"), (503, "access_unavailable")}


@pytest.fixture(scope="module")
def proxy(module_database):
    with Proxy(module_database) as between:
        yield between


@pytest.fixture(scope="module")
def server(proxy):
    settings = {"FLEETWIRE_COMMIT_GIVE_UP_SECS": str(GIVE_UP_SECS), "FLEETWIRE_UPKEEP_SECS": "0"}
    with serving("--database-url", proxy.dsn, settings=settings) as running:
        (worker,) = running.workers()
        yield running
        assert running.workers() == [worker], "the worker that met the faults outlives them"
        assert running.stop() == 0
        assert running.faults() == []


@asynccontextmanager
async def _load(client, tenant, ledger):
    """Senders while the block runs; afterwards they were answered all along, and every answer was true."""
    async with sending([client], tenant.ingest, ledger) as senders:
        yield senders
        await senders.acknowledged(3)
        await client.until("/readyz", 200, within_secs=HEAL_SECS)
    assert ledger.refusals.keys() <= AWAY
    assert ledger.lost == 0, "a server whose database is away still answers"
    await ledger.verify(tenant.dsn, tenant.name, commits_went_unheard=True)


async def _away_is_said(client):
    await client.until("/readyz", 503, within_secs=HEAL_SECS)
    assert (await client.get("/livez")).status == 200
    assert (await client.get("/health")).json["status"] == "degraded"


async def test_connections_reset_again_and_again(proxy, client, tenant):
    ledger = Ledger()
    async with _load(client, tenant, ledger) as senders:
        for _ in range(8):
            assert proxy.connections > 0
            proxy.cut()
            await senders.acknowledged(2)


async def test_unreachable_database_is_said_and_comes_back(proxy, client, tenant):
    ledger = Ledger()
    async with _load(client, tenant, ledger) as senders:
        with proxy.refusing():
            await asyncio.gather(senders.refused(), _away_is_said(client))
    assert (503, "database_unavailable") in ledger.refusals


@pytest.mark.parametrize("ways", [("up",), ("down",), ("up", "down")], ids="-".join)
async def test_half_open_network_is_said_and_comes_back(proxy, client, tenant, ways):
    ledger = Ledger()
    async with _load(client, tenant, ledger) as senders:
        # Slowed down, so that it is caught in the middle of a transaction, whose rows then stay locked: PostgreSQL
        # is not told that nobody will end it.
        with proxy.slow(delay_secs=0.2):
            await until_rows_are_held(tenant.dsn, within_secs=HEAL_SECS)
            with proxy.half_open(*ways):
                await asyncio.gather(senders.refused(), _away_is_said(client))
    assert (503, "database_unavailable") in ledger.refusals


async def test_what_was_committed_unheard_is_shown(proxy, client, tenant):
    """The answer to the commit is swallowed: the sender knows nothing, and watchers see what the database has."""
    first, second = track(2)
    await client.send({"device": "van", "fixes": [first]}, token=tenant.ingest)
    shown = (await client.get("/api/live", token=tenant.dispatcher)).json["features"]
    assert [each["properties"]["timestamp"] for each in shown] == [first["timestamp"]]
    with proxy.half_open("down"):
        sending = asyncio.ensure_future(client.send({"device": "van", "fixes": [second]}, token=tenant.ingest))
        async with asyncio.timeout(HEAL_SECS):
            while len(await stored(tenant.dsn, tenant.name)) < 2:
                await asyncio.sleep(0.05)
        answer = await sending
    assert answer.refusal == (503, "database_unavailable")
    async with asyncio.timeout(HEAL_SECS):
        while shown[0]["properties"]["timestamp"] != second["timestamp"]:
            await asyncio.sleep(0.05)
            shown = (await client.get("/api/live", token=tenant.dispatcher)).json["features"]
    assert (await client.send({"device": "van", "fixes": [second]}, token=tenant.ingest)).receipt == (0, 1, {})


async def test_slow_network_slows_receipts_and_nothing_else(proxy, client, tenant):
    ledger = Ledger()
    async with _load(client, tenant, ledger) as senders:
        started_secs = time.monotonic()
        with proxy.slow(delay_secs=0.05, bytes_per_sec=100_000):
            await senders.acknowledged(2)
        assert time.monotonic() - started_secs > 0.3, "a commit in steps is several round trips"
    assert ledger.refusals == {}


async def test_network_too_slow_for_a_commit_is_said_and_comes_back(proxy, client, tenant):
    ledger = Ledger()
    async with _load(client, tenant, ledger) as senders:
        with proxy.slow(delay_secs=1.5):
            await senders.refused()
    assert (503, "database_unavailable") in ledger.refusals


@pytest.mark.parametrize("comes_back", [True, False], ids=["and back", "until the stop"])
async def test_worker_killed_while_the_database_is_away_is_replaced(proxy, tenant, session, comes_back):
    ledger = Ledger()
    with serving("--database-url", proxy.dsn) as server:
        client = Client(server.url, session)
        await ledger.send(client, tenant.ingest, "van", track(1))
        with proxy.refusing():
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            async with asyncio.timeout(HEAL_SECS):
                while "waits for the database" not in server.log():
                    await asyncio.sleep(0.1)
            assert server.running
            if not comes_back:
                assert await asyncio.to_thread(server.stop) == 0
                return
        await client.until("/readyz", 200, within_secs=HEAL_SECS)
        await ledger.send(client, tenant.ingest, "van", track(3))
        await ledger.verify(tenant.dsn, tenant.name)
