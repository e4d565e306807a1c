"""Every part between the workers is killed, frozen and cut: no acknowledged fix is lost, and every watcher ends with
the present, by a movement or by a new snapshot.
"""

import asyncio
import itertools
import os
import signal
import time
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from harness.client import Client
from harness.database import stored
from harness.fixes import fix
from harness.fleet import fleet, watchers
from harness.nginx import trusting
from harness.process import children, wait_until

LIMIT_SECS = 60
DEVICES = 12
_times = itertools.count(1_700_000_000_000)


@pytest.fixture(scope="module")
def running(module_database):
    with fleet(module_database) as each:
        yield each
        # Whatever was done to them, they end as they should. A worker that is killed is reported by what started it.
        assert [node.stop() for node in each.nodes] == [0, 0], [node.log() for node in each.nodes]
        faults = [fault for node in each.nodes for fault in node.faults()]
        assert [fault for fault in faults if "Unexpected exit from worker" not in fault] == []


@pytest.fixture
async def edge(running):
    timeout = aiohttp.ClientTimeout(total=LIMIT_SECS)
    connector = aiohttp.TCPConnector(ssl=trusting(), limit=0)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout
    ) as opened:
        yield Client(running.edge.url, opened)


@pytest.fixture
def nodes(running, session):
    return [Client(node.url, session) for node in running.nodes]


class Drivers:
    """Devices that send one fix after the other and keep each until it is acknowledged."""

    def __init__(self, door, tenant):
        self._door = door
        self._tenant = tenant
        self.acknowledged = []
        self.newest = {}
        self._is_over = False

    async def drive(self, number):
        device = f"van-{number}"
        while not self._is_over:
            sent = fix(next(_times))
            while not await self._is_taken(device, sent):
                await asyncio.sleep(0.1)
            self.acknowledged.append((device, sent["timestamp"]))
            self.newest[device] = sent["timestamp"]
            await asyncio.sleep(0.05)

    async def _is_taken(self, device, sent):
        try:
            answer = await self._door.send({"device": device, "fixes": [sent]}, token=self._tenant.ingest)
        except (aiohttp.ClientError, TimeoutError):
            return False
        if answer.status == 200:
            assert answer.receipt[2] == {}
        else:
            assert answer.status in {502, 503, 504}, answer.body
        return answer.status == 200

    def stop(self):
        self._is_over = True


@asynccontextmanager
async def driving(door, tenant):
    drivers = Drivers(door, tenant)
    tasks = [asyncio.create_task(drivers.drive(number)) for number in range(DEVICES)]
    try:
        yield drivers
    finally:
        drivers.stop()
        await asyncio.gather(*tasks)


async def all_stored(running, tenant, drivers):
    found = await stored(running.dsn, tenant.name)
    assert len({(each.device, each.millis) for each in found}) == len(found)
    assert set(drivers.acknowledged) <= {(each.device, each.millis) for each in found}


async def until(holds, what):
    deadline = time.monotonic() + LIMIT_SECS
    while not holds():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.05)


async def shown(watching, newest):
    """Every watcher that is still there ends with the newest position of every device."""

    def behind():
        return [watcher for watcher in watching if not watcher.socket.raw.closed and watcher.seen != newest]

    await until(lambda: not behind(), lambda: [(watcher.epoch, watcher.seen, newest) for watcher in behind()])


@asynccontextmanager
async def following(clients, tenant):
    """Watchers on every worker, which read as long as the block lasts."""
    async with watchers(clients, tenant) as watching:
        tasks = [asyncio.create_task(watcher.follow()) for watcher in watching]
        try:
            yield watching
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)


async def connected(nodes, tenant, expected):
    """Waits until so many workers of each node are connected to Valkey, and all have caught up.

    A health check would ask one of them.
    """
    deadline = time.monotonic() + LIMIT_SECS
    operator = await tenant.issue_async("user", "ops", "admin")
    for node in nodes:
        while f"fleetwire_relay_connected_workers {expected}.0" not in (
            (await node.get("/metrics", token=operator)).body.decode().splitlines()
        ):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    # A worker that is connected again begins a new epoch when it has read what it missed.
    epochs: set[str] = set()
    while epochs != (found := await epochs_of(nodes, tenant)):
        assert time.monotonic() < deadline
        epochs = found
        await asyncio.sleep(1)


async def epochs_of(nodes, tenant):
    async with watchers(nodes, tenant) as watching:
        return {watcher.epoch for watcher in watching}


async def test_a_worker_that_is_killed_costs_its_own_sockets_and_nothing_else(running, nodes, edge, tenant):
    async with following(nodes, tenant) as watching, driving(edge, tenant) as drivers:
        for node in running.nodes:
            await asyncio.sleep(1)
            victim = node.workers()[0]
            os.kill(victim, signal.SIGKILL)
            await until(lambda node=node: len(node.workers()) == 2, lambda: "the worker is started again")
        drivers.stop()
        await asyncio.sleep(0.5)
        assert sum(watcher.socket.raw.closed for watcher in watching) == 2
        await shown(watching, drivers.newest)
        await all_stored(running, tenant, drivers)
        async with following(nodes, tenant) as after:
            await shown(after, drivers.newest)
            assert len(after) == 4
    await connected(nodes, tenant, 2)


@pytest.mark.parametrize("away_secs", [1, 10, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_valkey_is_killed_and_comes_back(running, nodes, edge, tenant, away_secs):
    async with following(nodes, tenant) as watching, driving(edge, tenant) as drivers:
        await until(lambda: len(drivers.newest) == DEVICES, lambda: drivers.newest)
        running.valkey.kill()
        taken = len(drivers.acknowledged)
        await asyncio.sleep(away_secs)
        # Batches are taken as before, and degraded is not dead.
        assert len(drivers.acknowledged) > taken + DEVICES
        health = await nodes[0].get("/health")
        assert (health.status, health.json["status"]) == (200, "degraded")
        assert health.json["relay"]["state"] == "disconnected"
        assert 0 < health.json["relay"]["next_try_secs"] <= 5
        assert (await nodes[0].get("/readyz")).json == {"status": "ready", "relay": "disconnected"}
        running.valkey.start()
        await until(lambda: all(watcher.resyncs for watcher in watching), lambda: "all are told to start again")
        drivers.stop()
        await asyncio.sleep(0.5)
        await shown(watching, drivers.newest)
        await all_stored(running, tenant, drivers)
        assert [watcher.resyncs for watcher in watching] == [1] * 4
        assert len({watcher.epoch for watcher in watching}) == 4
    await connected(nodes, tenant, 2)


async def test_without_the_relay_a_worker_shows_its_own_movements(running, nodes, tenant):
    running.valkey.kill()
    try:
        async with following(nodes[:1], tenant) as watching:
            newest = {}
            # Until each of the two workers has taken some.
            for number in range(40):
                sent = fix(next(_times))
                await nodes[0].send({"device": f"own-{number}", "fixes": [sent]}, token=tenant.ingest)
                newest[f"own-{number}"] = sent["timestamp"]
            await until(
                lambda: len(set(watching[0].seen) | set(watching[1].seen)) == 40, lambda: [w.seen for w in watching]
            )
            running.valkey.start()
            await shown(watching, newest)
    finally:
        if not running.valkey.answers():
            running.valkey.start()
    await connected(nodes, tenant, 2)


async def test_valkey_freezes(running, nodes, edge, tenant):
    async with following(nodes, tenant) as watching, driving(edge, tenant) as drivers:
        running.valkey.send(signal.SIGSTOP)
        try:
            await connected(nodes, tenant, 0)
            taken = len(drivers.acknowledged)
            await until(lambda: len(drivers.acknowledged) > taken + DEVICES, lambda: "batches are taken")
        finally:
            running.valkey.send(signal.SIGCONT)
        await until(lambda: all(watcher.resyncs for watcher in watching), lambda: "all are told to start again")
        drivers.stop()
        await asyncio.sleep(0.5)
        await shown(watching, drivers.newest)
        await all_stored(running, tenant, drivers)
    await connected(nodes, tenant, 2)


async def test_connections_to_valkey_are_cut_again_and_again(running, nodes, edge, tenant):
    async with following(nodes, tenant) as watching, driving(edge, tenant) as drivers:
        for kind in ("pubsub", "normal", "pubsub"):
            await asyncio.sleep(0.5)
            running.valkey.command("CLIENT", "KILL", "TYPE", kind)
        await asyncio.sleep(0.5)
        drivers.stop()
        await shown(watching, drivers.newest)
        await all_stored(running, tenant, drivers)
    await connected(nodes, tenant, 2)


async def test_a_node_that_is_killed_is_made_up_for_by_the_other(running, nodes, edge, tenant):
    """Its last movements were stored and never told: the other node reads them when it is missed."""
    node, survivor = running.nodes
    async with following(nodes[1:], tenant) as watching, driving(edge, tenant) as drivers:
        await until(lambda: len(drivers.newest) == DEVICES, lambda: drivers.newest)
        pids = [node.pid, *children(node.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        node.wait()
        taken = len(drivers.acknowledged)
        await until(lambda: len(drivers.acknowledged) > taken + 3 * DEVICES, lambda: "nginx has another node")
        drivers.stop()
        await asyncio.sleep(0.5)
        await shown(watching, drivers.newest)
        assert [watcher.resyncs for watcher in watching] == [0, 0]
        await all_stored(running, tenant, drivers)
    running.restart(0)
    wait_until(lambda: len(survivor.workers()) == 2, limit_secs=LIMIT_SECS, what="the survivor has its workers")
    await connected(nodes, tenant, 2)
    async with watchers(nodes, tenant) as after:
        assert [watcher.seen for watcher in after] == [drivers.newest] * 4
