"""Two nodes with two workers each behind nginx: whoever takes a batch, everyone sees where the device is."""

import asyncio
import signal
import time

import aiohttp
import pytest

from harness.client import LOCATION, Client
from harness.database import stored_times
from harness.fixes import fix, track
from harness.fleet import fleet, watchers
from harness.nginx import trusting
from harness.process import run, run_all, wait_until
from harness.tenants import PASSWORD

LIMIT_SECS = 30


@pytest.fixture(scope="module")
def running(module_database):
    with fleet(module_database) as each:
        yield each
        assert [node.stop() for node in each.nodes] == [0, 0]
        assert [node.faults() for node in each.nodes] == [[], []]


@pytest.fixture
async def outside():
    """Connections to nginx, with its certificate taken as it is."""
    timeout = aiohttp.ClientTimeout(total=LIMIT_SECS)
    connector = aiohttp.TCPConnector(ssl=trusting())
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout
    ) as opened:
        yield opened


@pytest.fixture
def nodes(running, session):
    return [Client(node.url, session) for node in running.nodes]


@pytest.fixture
def edge(running, outside):
    return Client(running.edge.url, outside)


async def until(holds, what):
    deadline = time.monotonic() + LIMIT_SECS
    while not holds():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.02)


async def seen_by_all(watching, device, timestamp):
    """Reads on until every watcher shows this position of the device."""
    for watcher in watching:
        while watcher.seen.get(device) != timestamp:
            watcher.take(await watcher.socket.receive())


async def test_a_movement_is_seen_on_every_worker_whoever_took_it(nodes, edge, tenant):
    async with watchers(nodes, tenant) as watching:
        assert len({watcher.epoch for watcher in watching}) == 4
        for step, door in enumerate([*nodes, edge] * 2):
            sent = fix(speed=13.4, battery=0.8)
            answer = await door.send({"device": f"van-{step % 3}", "fixes": [sent]}, token=tenant.ingest)
            assert answer.receipt == (1, 0, {})
            await seen_by_all(watching, f"van-{step % 3}", sent["timestamp"])
        assert [watcher.resyncs for watcher in watching] == [0] * 4


async def test_every_worker_answers_with_the_same_present(nodes, tenant):
    for number in range(5):
        await nodes[number % 2].send({"device": f"bus-{number}", "fixes": [fix()]}, token=tenant.ingest)

    async def present(node):
        features = (await node.get("/api/live", token=tenant.dispatcher)).json["features"]
        return sorted(feature["properties"]["device"] for feature in features)

    expected = [f"bus-{number}" for number in range(5)]
    deadline = time.monotonic() + LIMIT_SECS
    for node in nodes * 4:
        while await present(node) != expected:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_a_late_fix_moves_nothing_on_any_worker(nodes, tenant):
    newest, late = fix(), fix(1_700_000_000_000)
    async with watchers(nodes, tenant) as watching:
        await nodes[0].send({"device": "tram", "fixes": [newest]}, token=tenant.ingest)
        await seen_by_all(watching, "tram", newest["timestamp"])
        assert (await nodes[1].send({"device": "tram", "fixes": [late]}, token=tenant.ingest)).receipt == (1, 0, {})
        marker = fix()
        await nodes[1].send({"device": "marker", "fixes": [marker]}, token=tenant.ingest)
        await seen_by_all(watching, "marker", marker["timestamp"])
        assert {watcher.seen["tram"] for watcher in watching} == {newest["timestamp"]}


async def test_the_same_batch_through_every_door_is_stored_once(running, nodes, edge, tenant):
    fixes = track(200)
    doors = [*nodes, edge] * 4
    answers = await asyncio.gather(
        *(door.send({"device": "twin", "fixes": fixes}, token=tenant.ingest) for door in doors)
    )
    assert sum(answer.receipt[0] for answer in answers) == 200
    assert sum(answer.receipt[1] for answer in answers) == 200 * (len(doors) - 1)
    assert await stored_times(running.dsn, tenant.name) == [each["timestamp"] for each in fixes]


async def test_a_session_that_ends_on_one_worker_ends_on_all(nodes, tenant):
    tenant.user("dina", "dispatcher")
    session = (await nodes[0].login(tenant.name, "dina", PASSWORD)).json
    token = session["token"]
    async with watchers(nodes, tenant, each=2), nodes[1].socket("/ws/dispatch", token=token) as feed:
        await feed.send({"type": "watch"})
        await feed.receive_type("snapshot")
        assert (await nodes[0].request("POST", "/api/logout", token=token)).status < 300
        assert await feed.closed() == 4401


async def test_metrics_are_those_of_all_workers_of_a_node(running, nodes, tenant):
    before = await counters(nodes[0], tenant)
    for number in range(20):
        await nodes[0].send({"device": f"meter-{number}", "fixes": track(3)}, token=tenant.ingest)
    # Whichever worker answers: what both counted.
    for _ in range(5):
        after = await counters(nodes[0], tenant)
        assert (
            after['fleetwire_ingest_fixes_total{outcome="stored"}']
            - before.get('fleetwire_ingest_fixes_total{outcome="stored"}', 0)
            == 60
        )
    assert after["fleetwire_relay_connected_workers"] == 2
    assert after["fleetwire_relay_heard_workers"] == 8
    assert after['fleetwire_relay_messages_total{direction="out"}'] > 0
    assert after['fleetwire_ingest_receipt_seconds_bucket{le="+Inf"}'] >= 20


async def counters(client, tenant):
    text = (await client.get("/metrics", token=await tenant.issue_async("user", "ops", "admin"))).body.decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    found = {name: float(value) for name, value in lines}
    assert len(found) == len(lines), "a sample stands there once"
    return found


async def test_health_says_how_the_relay_is(nodes):
    for node in nodes:
        health = await node.get("/health")
        assert health.status == 200
        assert health.json["status"] == "ok"
        assert health.json["relay"] == {"state": "connected", "workers": 4, "connections": 1}
        assert (await node.get("/readyz")).json == {"status": "ready", "relay": "connected"}


async def test_workers_are_renewed_one_after_the_other(running, nodes, tenant):
    """SIGHUP: sockets are told, senders notice nothing, and the new workers know the present."""
    node, client = running.nodes[1], nodes[1]
    old = set(node.workers())
    assert len(old) == 2
    outcomes, is_over = [], asyncio.Event()

    async def send():
        while not is_over.is_set():
            try:
                answer = await client.send({"device": "steady", "fixes": [fix()]}, token=tenant.ingest)
                outcomes.append(answer.status)
            except aiohttp.ClientConnectionError:
                # A connection that was kept alive by the worker that ended.
                outcomes.append(0)
            await asyncio.sleep(0.02)

    sending = asyncio.create_task(send())
    async with watchers([client], tenant) as watching:
        node.send(signal.SIGHUP)
        assert [await watcher.socket.closed(within_secs=60) for watcher in watching] == [1012, 1012]
    await until(lambda: len(node.workers()) == 2 and not old & set(node.workers()), node.workers)
    is_over.set()
    await sending
    # 503 is what a sender repeats; it comes from the worker that is being drained.
    assert set(outcomes) <= {200, 503, 0}
    assert outcomes.count(200) > 0.8 * len(outcomes)
    async with watchers(nodes, tenant) as watching:
        sent = fix()
        await client.send({"device": "steady", "fixes": [sent]}, token=tenant.ingest)
        await seen_by_all(watching, "steady", sent["timestamp"])


async def test_nginx_keeps_what_does_not_belong_inside(running, edge, outside, tenant):
    async with outside.get(f"http://127.0.0.1:{running.edge.http_port}/api/live", allow_redirects=False) as answer:
        assert answer.status == 308
        assert answer.headers["Location"].startswith("https://")
    large = await edge.request("POST", LOCATION, token=tenant.ingest, body=b" " * (9 << 20))
    assert large.status == 413
    assert (await edge.get("/metrics", token=tenant.dispatcher)).status == 404
    assert (await edge.get("/readyz")).status == 200
    answer = await edge.get("/api/live", token=tenant.dispatcher, secret="in-the-query")
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    await edge.get("/overland/token-in-the-path")
    logins = await asyncio.gather(*(edge.get("/api/login") for _ in range(20)))
    assert {login.status for login in logins} == {405, 429}
    wait_until(lambda: "/overland" in running.edge.log(), limit_secs=10, what="nginx writes its log")
    for secret in ("in-the-query", "token-in-the-path", tenant.ingest, tenant.dispatcher):
        assert secret not in running.edge.log()


async def test_several_workers_need_redis_and_the_command_says_what_to_do(scratch_dir):
    refused = run("serve", "--workers", "2", "--data-dir", scratch_dir)
    assert refused.returncode == 2
    assert "--redis-url redis://" in refused.stderr
    wrong = ("valkey", "http://x", "redis://", "redis+sentinel://host", "redis+cluster://host/2", "redis://a:x")
    settings = [{"FLEETWIRE_REDIS_URL": url} for url in wrong]
    for url, done in zip(wrong, run_all(*[["config", "check"]] * len(wrong), settings=settings), strict=True):
        assert done.returncode == 2, url
        assert "FLEETWIRE_REDIS_URL: the address is not one of" in done.stdout + done.stderr, url
