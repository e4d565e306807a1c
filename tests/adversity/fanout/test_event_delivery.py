"""Events over cuts and kills: every one that was stored reaches every watcher that acknowledges, in order."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import pytest

from fleetwire.client.events import EventStream, publish
from fleetwire.postgres.listener import APPLICATION_NAME
from harness.fixtures import running_server
from harness.process import Server, serving, wait_until
from harness.tenants import Tenant

HEAL_SECS = 60.0


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(module_database)


@pytest.fixture
def tenant(module_database):
    return Tenant(module_database)


class Watcher:
    """Hears in the background and keeps what it heard."""

    def __init__(self, url, token, **options):
        self.stream = EventStream(url, token, **options)
        self.heard = []

    async def __aenter__(self):
        await self.stream.__aenter__()
        self._task = asyncio.ensure_future(self._hear())
        async with asyncio.timeout(HEAL_SECS):
            while not self.stream.connections:
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.stream.__aexit__(*error)

    async def _hear(self):
        async for event in self.stream:
            self.heard.append(event)

    async def until(self, seqs):
        """Waits until so many were heard, and holds them to be exactly these."""
        async with asyncio.timeout(HEAL_SECS):
            while len(self.heard) < len(seqs):
                await asyncio.sleep(0.02)
        assert [event.seq for event in self.heard] == seqs


@asynccontextmanager
async def listener_cut(dsn):
    """Nobody is notified while the block runs: connections that listen are cut as soon as they are there."""
    connection = await asyncpg.connect(dsn)

    async def cut():
        return await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = $1",
            APPLICATION_NAME,
        )

    async def cut_forever():
        while True:
            await cut()
            await asyncio.sleep(0.01)

    async with asyncio.timeout(HEAL_SECS):
        while not await cut():
            await asyncio.sleep(0.01)
    cutting = asyncio.ensure_future(cut_forever())
    try:
        yield
    finally:
        cutting.cancel()
        await asyncio.wait([cutting])
        await connection.close()


async def store(session, server, tenant, count, *, room="dispatch"):
    """Publishes one after the other and returns their numbers."""
    return [
        await publish(
            session, server.url, tenant.dispatcher, room=room, kind="message", payload={"text": str(number)},
            retry_timeout_secs=HEAL_SECS,
        )
        for number in range(count)
    ]  # fmt: skip


async def test_killed_worker_costs_no_watcher_an_event(module_database, session, tenant):
    with serving("--database-url", module_database) as server:
        async with (
            Watcher(server.url, tenant.dispatcher) as first,
            Watcher(server.url, tenant.dispatcher, rooms=["dispatch", "order:1"]) as second,
        ):
            publishing = asyncio.ensure_future(store(session, server, tenant, 200))
            async with asyncio.timeout(HEAL_SECS):
                while len(first.heard) < 60:
                    await asyncio.sleep(0.01)
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            seqs = await publishing
            assert seqs == list(range(1, 201)), "stored once each, however often they were sent"
            await asyncio.gather(first.until(seqs), second.until(seqs))
            assert first.stream.connections >= 2
            assert first.stream.gaps == second.stream.gaps == 0
        assert server.stop() == 0


async def test_event_committed_by_a_server_that_dies_before_it_tells_anybody(module_database, session, tenant):
    """The row is written as a killed worker leaves it: committed, and nobody notified."""
    with serving("--database-url", module_database) as server:
        async with Watcher(server.url, tenant.dispatcher) as watcher:
            await store(session, server, tenant, 1)
            await watcher.until([1])
            connection = await asyncpg.connect(module_database)
            try:
                await connection.execute(
                    "WITH moved AS (UPDATE event_counter SET seq = seq + 1 FROM tenant "
                    "WHERE tenant.tenant_id = event_counter.tenant_id AND tenant.name = $1 "
                    "RETURNING event_counter.tenant_id, seq) "
                    "INSERT INTO event SELECT tenant_id, seq, 'dispatch', 'message', '{\"text\":\"x\"}', 'a', null, "
                    "now(), now() FROM moved",
                    tenant.name,
                )
            finally:
                await connection.close()
            server.kill()
            again = Server("--database-url", module_database, port=server.port)
            try:
                await asyncio.to_thread(again.start)
                await watcher.until([1, 2])
                assert again.stop() == 0
            finally:
                again.close()


async def test_other_server_hears_of_it_and_nothing_is_lost_while_it_cannot(module_database, session, server, tenant):
    """Two servers on one database, as two workers are: the watcher is on the other one."""
    with serving("--database-url", module_database) as other:
        async with Watcher(other.url, tenant.dispatcher) as watcher:
            seqs = await store(session, server, tenant, 5)
            await watcher.until(seqs)
            async with listener_cut(module_database):
                seqs += await store(session, server, tenant, 20)
            await watcher.until(seqs)
            assert watcher.stream.connections == 1, "its own socket was not touched"
        assert other.stop() == 0


async def test_cut_sockets_come_back_where_they_were(module_database, server, session, tenant):
    async with Watcher(server.url, tenant.dispatcher) as watcher, aiohttp.ClientSession() as own:
        publishing = asyncio.ensure_future(store(own, server, tenant, 120))
        for connections in (1, 2, 3):
            async with asyncio.timeout(HEAL_SECS):
                while watcher.stream.connections < connections or len(watcher.heard) < 25 * connections:
                    await asyncio.sleep(0.01)
            for transport in _transports(watcher.stream._session):
                transport.abort()
        await watcher.until(await publishing)
        assert watcher.stream.connections >= 4


def _transports(session):
    """Upgraded connections have left the connector's free list and are in its acquired set."""
    return [protocol.transport for protocol in session.connector._acquired if protocol.transport is not None]


def test_stop_with_watchers_is_clean(module_database, tenant):
    with serving("--database-url", module_database) as server:

        async def watch():
            async with Watcher(server.url, tenant.dispatcher):
                await asyncio.to_thread(server.send, signal.SIGTERM)
                await asyncio.to_thread(wait_until, lambda: not server.running, limit_secs=30, what="stops")

        asyncio.run(watch())
        assert server.wait() == 0
        assert server.faults() == []
