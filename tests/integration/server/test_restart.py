"""Stops and starts: what was acknowledged is stored, sockets are told, the present is there again."""

import asyncio
import json
import os
import signal
import socket
import time

import aiohttp
import pytest

from fleetwire.postgres.embedded.server import running_dsn
from harness.client import LOCATION, Client, read_receipt
from harness.database import stored_times, temporary_database
from harness.fixes import fix, track
from harness.process import Server, alive, serving, wait_until
from harness.tenants import Tenant

STOP_SECS = 10


@pytest.fixture
def dsn(postgres_dsn, migrated_template):
    with temporary_database(postgres_dsn, migrated_template) as each:
        yield each


@pytest.fixture
def company(dsn):
    return Tenant(dsn)


async def test_next_server_knows_the_present_and_the_duplicates(dsn, company, session):
    fixes = track(20)
    for expected in [(20, 0, {}), (0, 20, {})]:
        with serving("--database-url", dsn) as server:
            client = Client(server.url, session)
            if expected[1]:
                async with client.socket("/ws/dispatch", token=company.dispatcher) as feed:
                    await feed.send({"type": "watch"})
                    (position,) = (await feed.receive_type("snapshot"))["positions"]
                assert position == {"device": "van", **fixes[-1]}
                (feature,) = (await client.get("/api/live", token=company.dispatcher)).json["features"]
                assert feature["properties"] == {"device": "van", "timestamp": fixes[-1]["timestamp"]}
            answer = await client.send({"device": "van", "fixes": fixes}, token=company.ingest)
            assert answer.receipt == expected
    assert await stored_times(dsn, company.name) == [each["timestamp"] for each in fixes]


async def test_stop_under_load_keeps_every_promise(dsn, company, session):
    server = Server("--database-url", dsn).start()
    client = Client(server.url, session)
    promised, outcomes, goodbyes = [], set(), []

    async def post(number):
        """Sends batch after batch of a device of its own until the server is gone."""
        for step in range(100_000):
            sent = fix(1_700_000_000_000 + step)
            try:
                answer = await client.send({"device": f"post-{number}", "fixes": [sent]}, token=company.ingest)
            except aiohttp.ClientError:
                return
            if answer.status == 200:
                assert answer.receipt == (1, 0, {})
                promised.append((f"post-{number}", sent["timestamp"]))
            else:
                outcomes.add(answer.refusal)
                assert int(answer.headers["Retry-After"]) > 0
                await asyncio.sleep(0.02)

    async def drive(number):
        async with client.socket("/ws", token=company.ingest) as up:
            for step in range(100_000):
                sent = fix(1_700_000_000_000 + step)
                try:
                    await up.send({"type": "batch", "id": step, "device": f"drive-{number}", "fixes": [sent]})
                    message = await up.raw.receive()
                except aiohttp.ClientError:
                    return
                if message.type is aiohttp.WSMsgType.CLOSE:
                    goodbyes.append(message.data)
                    return
                answer = json.loads(message.data)
                if answer["type"] == "receipt":
                    assert read_receipt(answer) == (1, 0, {})
                    promised.append((f"drive-{number}", sent["timestamp"]))
                else:
                    assert answer["code"] == "stopping"

    async def watch():
        async with client.socket("/ws/dispatch", token=company.dispatcher) as feed:
            goodbyes.append(await feed.closed(within_secs=60))

    load = [asyncio.ensure_future(each) for each in (*map(post, range(8)), *map(drive, range(4)), watch(), watch())]
    while len(promised) < 500:
        await asyncio.sleep(0.01)
    started = time.monotonic()
    server.send(signal.SIGTERM)
    code = await asyncio.to_thread(server.wait, limit_secs=STOP_SECS)
    took_secs = time.monotonic() - started
    await asyncio.gather(*load)
    assert (code, server.faults()) == (0, [])
    server.close()
    assert took_secs < STOP_SECS
    assert goodbyes == [1012] * 6
    assert outcomes <= {(503, "stopping")}
    for device in {device for device, _ in promised}:
        kept = await stored_times(dsn, company.name, device)
        assert len(kept) == len(set(kept))
        assert {at for each, at in promised if each == device} <= set(kept)


async def test_client_that_stalls_in_its_body_does_not_hold_a_stop_back(dsn, company):
    server = Server("--database-url", dsn).start()
    with socket.create_connection(("127.0.0.1", server.port)) as stalled:
        stalled.sendall(
            f"POST {LOCATION} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {company.ingest}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n[{".encode()
        )
        await asyncio.sleep(0.3)
        started = time.monotonic()
        server.send(signal.SIGTERM)
        code = await asyncio.to_thread(server.wait, limit_secs=30)
        took_secs = time.monotonic() - started
    server.close()
    assert code == 0
    assert took_secs < STOP_SECS
    assert await stored_times(dsn, company.name) == []


@pytest.mark.parametrize("request_", [signal.SIGINT, signal.SIGTERM])
async def test_idle_server_stops_at_once(dsn, request_):
    server = Server("--database-url", dsn).start()
    workers = server.workers()
    assert len(workers) == 1
    started = time.monotonic()
    server.send(request_)
    assert await asyncio.to_thread(server.wait, limit_secs=STOP_SECS) == 0
    assert time.monotonic() - started < 3
    assert not any(map(alive, workers))
    assert server.faults() == []
    server.close()


async def test_killed_server_takes_its_workers_along_and_the_next_adopts_its_database(scratch_dir, session):
    data_dir = scratch_dir / "data"
    server = Server("--data-dir", data_dir).start()
    dsn = running_dsn(data_dir)
    company = await asyncio.to_thread(Tenant, dsn)
    fixes = track(30)
    client = Client(server.url, session)
    assert (await client.send({"device": "van", "fixes": fixes[:20]}, token=company.ingest)).receipt == (20, 0, {})
    postgres = server.database()
    (worker,) = server.workers()

    await asyncio.to_thread(server.kill)  # asserts that the worker goes too
    server.close()
    assert not alive(worker)
    assert alive(postgres), "the database outlives a killed server"

    port = server.port
    server = Server("--data-dir", data_dir, port=port).start()
    try:
        assert alive(postgres)
        assert running_dsn(data_dir) == dsn
        client = Client(server.url, session)
        assert (await client.send({"device": "van", "fixes": fixes}, token=company.ingest)).receipt == (10, 20, {})
        assert await stored_times(dsn, company.name) == [each["timestamp"] for each in fixes]
        os.kill(server.workers()[0], signal.SIGKILL)
        await asyncio.to_thread(_serves_again, server)
        answer = await client.send({"device": "van", "fixes": fixes}, token=company.ingest)
        assert answer.receipt == (0, 30, {}), "a killed worker is replaced"
    finally:
        assert server.stop() == 0
        server.close()
    await asyncio.to_thread(
        wait_until, lambda: not alive(postgres), limit_secs=5, what="the database stops with its server"
    )
    assert running_dsn(data_dir) is None


def _serves_again(server):
    def ready():
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=1) as probe:
                probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b" 200 " in probe.recv(100)
        except OSError:
            return False

    wait_until(ready, limit_secs=20, what="a new worker serves")
