"""Workers and servers killed -9 or frozen under load: senders go to another server with what got no receipt."""

import asyncio
import os
import random
import signal
import time

import pytest

from harness.client import Client
from harness.database import until_rows_are_held
from harness.fixes import track
from harness.ledger import Ledger
from harness.process import Server, serving
from harness.proxy import Proxy
from harness.senders import HEAL_SECS, sending

SERVERS = 5
WORKER_KILLS = 20
SERVER_KILLS = 2


@pytest.fixture
def servers(module_database):
    """Several on one database, as on several machines: between its kills, each needs time that others can use."""
    running = [
        Server("--database-url", module_database, settings={"FLEETWIRE_UPKEEP_SECS": "0"}) for _ in range(SERVERS)
    ]
    try:
        for each in running:
            each.start()
        yield running
    finally:
        for each in running:
            each.close()


async def _kill_workers(server, client, times, chance):
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0, 2))
        (worker,) = await asyncio.to_thread(server.workers)
        os.kill(worker, signal.SIGKILL)
        await client.until("/readyz", 200, within_secs=HEAL_SECS)
        assert server.running, "a server outlives its worker"


async def _kill_servers(servers, chance):
    for number in chance.sample(range(SERVERS), SERVER_KILLS):
        server = servers[number]
        await asyncio.sleep(chance.uniform(0, 1))
        await asyncio.to_thread(server.kill)  # asserts that its worker goes too
        assert server.faults() == []
        server.close()
        servers[number] = servers[number].successor()
        await asyncio.to_thread(servers[number].start)


@pytest.mark.timeout(400)
async def test_nothing_acknowledged_is_lost_by_twenty_kills_of_workers_and_two_of_servers(servers, session, tenant):
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 1_000_000))
    print(f"TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)
    ledger = Ledger()
    clients = [Client(server.url, session) for server in servers]
    async with sending(clients, tenant.ingest, ledger, count=8) as senders:
        await asyncio.gather(
            *(
                _kill_workers(server, client, WORKER_KILLS // SERVERS, random.Random(chance.random()))
                for server, client in zip(servers, clients, strict=True)
            )
        )
        await _kill_servers(servers, chance)
        await senders.acknowledged(3)
    assert ledger.lost >= WORKER_KILLS // 2, "most kills hit a batch in the middle"
    assert ledger.refusals == {}
    await ledger.verify(tenant.dsn, tenant.name)
    for server in servers:
        assert server.faults() == []


async def test_frozen_worker_does_not_hold_up_the_next_for_long_and_goes_on_truthfully(
    session, tenant, module_database
):
    ledger, settings = Ledger(), {"FLEETWIRE_COMMIT_GIVE_UP_SECS": "4", "FLEETWIRE_UPKEEP_SECS": "0"}
    with (
        Proxy(module_database) as proxy,
        serving("--database-url", proxy.dsn, settings=settings) as frozen,
        serving("--database-url", module_database, settings=settings) as other,
    ):
        clients = [Client(each.url, session) for each in (frozen, other)]
        fixes = track(20)
        for batch in (fixes[:4], fixes[4:5]):
            await ledger.send(clients[0], tenant.ingest, "van", batch)
        (worker,) = frozen.workers()
        with proxy.slow(delay_secs=0.1):
            first = asyncio.ensure_future(ledger.send(clients[0], tenant.ingest, "van", fixes[:10]))
            await until_rows_are_held(tenant.dsn, within_secs=HEAL_SECS)
            os.kill(worker, signal.SIGSTOP)
        try:
            # The same device, through another server: its row is locked by a transaction that nobody goes on with.
            async with asyncio.timeout(HEAL_SECS):
                while True:
                    answer = await ledger.send(clients[1], tenant.ingest, "van", fixes)
                    if answer.status == 200:
                        break
            assert answer.receipt == (15, 5, {})
            assert not first.done()
        finally:
            os.kill(worker, signal.SIGCONT)
        # The first try is taken back, and the next finds what the other server stored.
        answer = await first
        assert answer.status == 503 or answer.receipt == (0, 10, {})
        assert (await ledger.send(clients[0], tenant.ingest, "van", fixes)).receipt == (0, 20, {})
        await ledger.verify(tenant.dsn, tenant.name)
        assert frozen.faults() == []
