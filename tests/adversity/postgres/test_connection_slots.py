"""Others take every connection slot of PostgreSQL: senders are told, what was told is true, and all heals by itself."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import asyncpg
import pytest

from harness.client import Client
from harness.fixes import fix
from harness.ledger import Ledger
from harness.own_postgres import own_postgres
from harness.process import Server, free_port, run, serving
from harness.senders import HEAL_SECS, sending
from harness.tenants import Tenant

SLOTS = 16
QUICK = {"FLEETWIRE_COMMIT_GIVE_UP_SECS": "1", "FLEETWIRE_APP_CONNECTIONS": "2", "FLEETWIRE_UPKEEP_SECS": "0"}
TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'fleetwire%'"


@pytest.fixture(scope="module")
def module_database():
    with own_postgres({"max_connections": str(SLOTS)}) as postgres:
        yield postgres.dsn


class Others:
    """Connections that do nothing but be there."""

    def __init__(self, dsn):
        self._dsn = dsn
        self._held = []

    async def take_free(self):
        """Takes slots until none is free."""
        while True:
            try:
                self._held.append(await asyncpg.connect(self._dsn))
            except asyncpg.TooManyConnectionsError:
                return

    async def take_all(self):
        """The server's as well, until it has none left."""
        async with asyncio.timeout(HEAL_SECS):
            await self.take_free()
            while await self._held[0].fetchval(TERMINATE):
                await self.take_free()

    async def leave(self, count):
        """Gives all but so many slots back."""
        while len(self._held) > count:
            await self._held.pop().close()


@asynccontextmanager
async def others(dsn):
    crowd = Others(dsn)
    try:
        yield crowd
    finally:
        await crowd.leave(0)


async def test_a_server_that_is_started_without_a_free_slot_says_so(module_database):
    async with others(module_database) as crowd:
        await crowd.take_free()
        ended = await asyncio.to_thread(run, "serve", "--database-url", module_database, "--port", str(free_port()))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == "fleetwire: sorry, too many clients already"


async def _until_waiting(server):
    async with asyncio.timeout(HEAL_SECS):
        while "The worker waits for the database." not in server.log():
            await asyncio.sleep(0.05)


async def test_a_worker_waits_for_the_slots_it_needs(module_database, session):
    server = Server("--database-url", module_database, settings=QUICK)
    try:
        async with others(module_database) as crowd:
            await crowd.take_free()
            await crowd.leave(SLOTS - 1)
            starting = asyncio.ensure_future(asyncio.to_thread(server.start))
            await _until_waiting(server)
            await asyncio.sleep(1)
            assert not starting.done()
            await crowd.leave(0)
            await starting
        tenant = await asyncio.to_thread(Tenant, module_database)
        answer = await Client(server.url, session).send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
        assert answer.receipt == (1, 0, {})
        assert server.stop() == 0
        assert server.faults() == []
    finally:
        server.close()


async def test_slots_taken_while_it_serves(module_database, session):
    tenant, ledger = await asyncio.to_thread(Tenant, module_database), Ledger()
    with serving("--database-url", module_database, settings=QUICK) as server:
        client = Client(server.url, session)
        (worker,) = server.workers()
        async with others(module_database) as crowd, sending([client], tenant.ingest, ledger) as senders:
            await crowd.take_all()
            await senders.refused()
            assert (await client.get("/livez")).status == 200
            assert (await client.get("/readyz")).status == 503
            await crowd.leave(0)
            await senders.acknowledged(3)
            assert (await client.get("/readyz")).status == 200
        assert ledger.refusals.keys() <= {(503, "database_unavailable"), (503, "access_unavailable")}
        assert ledger.lost == 0
        await ledger.verify(module_database, tenant.name, commits_went_unheard=True)
        assert server.workers() == [worker]
        assert server.stop() == 0
        assert server.faults() == []


async def test_a_worker_killed_while_every_slot_is_taken_comes_back(module_database, session):
    tenant, ledger = await asyncio.to_thread(Tenant, module_database), Ledger()
    with serving("--database-url", module_database, settings=QUICK) as server:
        client = Client(server.url, session)
        async with others(module_database) as crowd, sending([client], tenant.ingest, ledger) as senders:
            await crowd.take_all()
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            await _until_waiting(server)
            await asyncio.sleep(1)
            assert server.running
            await crowd.leave(0)
            await senders.acknowledged(3)
        await ledger.verify(module_database, tenant.name, commits_went_unheard=True)
        assert server.stop() == 0
