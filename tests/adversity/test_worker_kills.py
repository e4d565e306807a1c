"""Workers and whole servers killed -9 under load, while the senders go to another server with what got no receipt."""

import asyncio
import os
import random
import signal
import time

import pytest

from harness.client import Client
from harness.ledger import Ledger
from harness.process import Server
from harness.senders import HEAL_SECS, sending

SERVERS = 4
WORKER_KILLS = 20
SERVER_KILLS = 2
# Two deaths within 5.5 s are taken for a loop of crashes, and the server ends.
APART_SECS = 5.6


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
    died_secs = -APART_SECS
    for _ in range(times):
        await asyncio.sleep(max(0, died_secs + APART_SECS - time.monotonic()) + chance.uniform(0, 1))
        (worker,) = await asyncio.to_thread(server.workers)
        os.kill(worker, signal.SIGKILL)
        died_secs = time.monotonic()
        await client.until("/readyz", 200, within_secs=HEAL_SECS)
        assert server.running, "a server outlives its worker"


async def _kill_servers(servers, chance):
    for number in chance.sample(range(SERVERS), SERVER_KILLS):
        server = servers[number]
        await asyncio.sleep(chance.uniform(0, 1))
        await asyncio.to_thread(server.kill)  # asserts that its worker goes too
        assert server.faults() == []
        server.close()
        servers[number] = server.successor()
        await asyncio.to_thread(servers[number].start)


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
