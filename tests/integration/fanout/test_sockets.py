"""A socket's own life: who it is, whether it lives, how much it may say, and how it ends."""

import asyncio
import contextlib
import json
import time

import pytest

from harness.client import Client
from harness.fixes import fix
from harness.fixtures import running_server
from harness.process import serving
from harness.tenants import PASSWORD, Tenant

DISPATCH = "/ws/dispatch"
DRIVER = "/ws"
EMERGENCY = {"emergency": "sos", "note": "km 31"}
HEARTBEAT_SECS = 1.0
SETTINGS = {
    "FLEETWIRE_FEED_HEARTBEAT_SECS": str(HEARTBEAT_SECS),
    "FLEETWIRE_SOCKET_AUTH_SECS": "2",
    "FLEETWIRE_UNAUTHENTICATED_SOCKETS": "2",
    "FLEETWIRE_SOCKET_MESSAGES_PER_SEC": "1",
    "FLEETWIRE_SOCKET_MESSAGES_BURST": "10",
    "FLEETWIRE_SOCKET_RATE_VIOLATIONS": "5",
    "FLEETWIRE_EVENT_ACK_SECS": "2",
}


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(module_database, SETTINGS)


@pytest.fixture
async def van(tenant):
    return await tenant.issue_async("device", "van")


async def stats(client, tenant):
    return (await client.get("/api/websocket/stats", token=tenant.admin)).json


async def test_credential_may_come_as_the_first_message(client, tenant, van):
    async with client.socket(DISPATCH) as feed:
        await feed.send({"type": "auth", "token": tenant.dispatcher})
        assert await feed.receive() == {"type": "authenticated", "expires_at": None}
        await feed.send({"type": "watch"})
        await feed.receive_type("snapshot")
    async with client.socket(DRIVER) as driver:
        await driver.send({"type": "auth", "token": van})
        await driver.receive_type("authenticated")
        await driver.send({"type": "batch", "id": 1, "fixes": [fix()]})
        assert (await driver.receive_type("receipt"))["stored"] == 1


@pytest.mark.parametrize("path", [DISPATCH, DRIVER])
async def test_credential_that_does_not_open_the_door_is_named_and_closed(client, tenant, van, path):
    wrong = van if path == DISPATCH else tenant.dispatcher
    for first, code, close in [
        ({"type": "auth", "token": "fwu_" + "A" * 43}, "token_invalid", 4401),
        ({"type": "auth", "token": "x" * 5_000}, "token_invalid", 4401),
        ({"type": "auth"}, "token_missing", 4401),
        ({"type": "auth", "token": wrong}, "forbidden", 4403),
        ({"type": "watch"}, "token_missing", 4401),
    ]:
        async with client.socket(path) as socket:
            await socket.send(first)
            assert (await socket.receive_type("error"))["code"] == code
            assert await socket.closed() == close


async def test_stranger_is_told_nothing_and_closed_in_time(client, tenant):
    started = time.monotonic()
    async with client.socket(DISPATCH) as feed:
        answer = await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
        assert answer.status == 200
        assert await feed.closed() == 4407
    assert 1.8 < time.monotonic() - started < 10


async def test_strangers_are_few_at_a_time(client, tenant):
    async with client.socket(DRIVER), client.socket(DISPATCH) as second:
        assert (await client.handshake(DISPATCH)).refusal == (401, "token_missing")
        await second.send({"type": "auth", "token": tenant.dispatcher})
        await second.receive_type("authenticated")
        async with client.socket(DISPATCH) as third:
            await third.send({"type": "auth", "token": tenant.dispatcher})
            await third.receive_type("authenticated")


async def test_token_that_came_by_message_is_followed_to_its_end(client, tenant):
    short = await tenant.issue_async("user", "dora", "dispatcher", life_secs=2)
    async with client.socket(DISPATCH) as feed:
        await feed.send({"type": "auth", "token": short})
        assert (await feed.receive_type("authenticated"))["expires_at"] > 0
        assert await feed.closed(within_secs=5) == 4401
    token = await tenant.issue_async("user", "dora", "dispatcher")
    async with client.socket(DISPATCH) as feed:
        await feed.send({"type": "auth", "token": token})
        await feed.receive_type("authenticated")
        await tenant.revoke(token)
        assert await feed.closed(within_secs=2) == 4401


async def test_login_closes_its_sockets_when_its_session_is_over(client, tenant):
    await asyncio.to_thread(tenant.user, "drew", "dispatcher")
    token = (await client.login(tenant.name, "drew", PASSWORD)).json["token"]
    async with client.socket(DISPATCH) as feed:
        await feed.send({"type": "auth", "token": token})
        expires_millis = (await feed.receive_type("authenticated"))["expires_at"]
        assert 880 < expires_millis / 1000 - time.time() < 920
        assert (await client.request("POST", "/api/logout", token=token)).status == 204
        assert await feed.closed(within_secs=2) == 4401


async def test_cookie_of_a_foreign_page_gets_no_second_way_in(client, tenant):
    await asyncio.to_thread(tenant.user, "drew", "dispatcher")
    token = (await client.login(tenant.name, "drew", PASSWORD)).json["token"]
    headers = {"Cookie": f"fleetwire_session={token}", "Origin": "https://evil.example"}
    assert (await client.handshake(DISPATCH, headers=headers)).refusal == (403, "origin_forbidden")


async def test_silent_driver_is_sent_heartbeats_and_needs_no_answer(client, van):
    async with client.socket(DRIVER, token=van) as driver:
        for _ in range(4):
            assert await driver.receive() == {"type": "heartbeat"}
        await driver.send({"type": "batch", "id": 1, "fixes": [fix()]})
        await driver.receive_type("receipt")


async def test_driver_that_sends_is_alive_without_heartbeats(client, van):
    async with client.socket(DRIVER, token=van) as driver:
        for number in range(8):
            await driver.send({"type": "batch", "id": number, "fixes": [fix()]})
            await driver.receive_type("receipt")
            await asyncio.sleep(HEARTBEAT_SECS / 4)


@pytest.mark.parametrize("path", [DISPATCH, DRIVER])
async def test_whoever_answers_heartbeats_is_held_to_it(client, tenant, van, path):
    async with client.socket(path, token=van if path == DRIVER else tenant.dispatcher) as socket:
        await socket.send('{ "type": "heartbeat" }')
        started = time.monotonic()
        while time.monotonic() - started < 3.5 * HEARTBEAT_SECS:
            frame = await socket.receive()
            if frame["type"] == "heartbeat":
                await socket.send({"type": "heartbeat"})
        answered = time.monotonic()
        assert await socket.closed() == 4410
        assert 1.5 * HEARTBEAT_SECS < time.monotonic() - answered < 10 * HEARTBEAT_SECS


@pytest.mark.parametrize("path", [DISPATCH, DRIVER])
async def test_too_many_messages_are_refused_and_then_the_socket_is_closed(client, tenant, van, path):
    async with client.socket(path, token=van if path == DRIVER else tenant.dispatcher) as socket:
        for number in range(30):
            await socket.send({"type": "ack", "seq": number})
        errors = []
        with contextlib.suppress(AssertionError):
            while True:
                frame = await socket.receive()
                errors += [frame] if frame["type"] == "error" else []
        assert [(each["code"], each["status"]) for each in errors] == [("message_rate", 429)] * 4
        assert socket.raw.close_code == 4429
    figures = await stats(client, tenant)
    assert figures["closes"]["4429"] >= 1
    assert figures["rate_refused"] >= 5


@pytest.mark.parametrize("path", [DISPATCH, DRIVER])
async def test_message_over_a_mebibyte_closes(client, tenant, van, path):
    async with client.socket(path, token=van if path == DRIVER else tenant.dispatcher) as socket:
        await socket.send(" " * ((1 << 20) + 1))
        assert await socket.closed() == 1009


async def test_watcher_that_does_not_acknowledge_is_closed_as_slow(client, tenant):
    async with (
        client.socket(DISPATCH, token=tenant.dispatcher) as feed,
        client.socket(DISPATCH, token=tenant.dispatcher) as old,
    ):
        await feed.send({"type": "events", "rooms": ["dispatch"]})
        while (await feed.receive())["type"] != "joined":
            pass
        body = json.dumps({"room": "dispatch", "kind": "emergency", "payload": EMERGENCY}).encode()
        assert (await client.request("POST", "/api/events", token=tenant.dispatcher, body=body)).status == 201
        assert await feed.closed(within_secs=10) == 4408
        assert (await stats(client, tenant))["slow_closes"] >= 1
        # It was told and did not say so: it is told again when it comes back.
        async with client.socket(DISPATCH, token=tenant.dispatcher) as back:
            await back.send({"type": "events", "rooms": ["dispatch"], "after": 0})
            while (again := await back.receive())["type"] != "event":
                pass
            assert again["payload"] == EMERGENCY
        await old.send({"type": "watch"})  # It has never said that it acknowledges, and is not held to it.
        while (await old.receive())["type"] != "snapshot":
            pass


async def test_stats_tell_what_went_over_the_sockets(client, tenant, van):
    before = await stats(client, tenant)
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed, client.socket(DRIVER, token=van) as driver:
        await feed.send({"type": "events", "rooms": ["dispatch"]})
        await feed.send({"type": "watch"})
        seen = set()
        while not {"joined", "snapshot"} <= seen:
            seen.add((await feed.receive())["type"])
        up = {"room": "dispatch", "kind": "message", "payload": {"text": "x"}}
        await driver.send({"type": "event", **up})
        await driver.receive_type("event_stored")
        while (await feed.receive())["type"] != "event":
            pass
        during = await stats(client, tenant)
        assert during["sockets"]["dispatch"] >= 1
        assert during["sockets"]["driver"] >= 1
        assert sum(during["protocols"].values()) == sum(during["sockets"].values())
        assert during["events"]["unacknowledged"] == 1
        await feed.send({"type": "ack", "seq": 1})
        await driver.send({"type": "batch", "id": 1, "fixes": [fix()]})
        await driver.receive_type("receipt")
        while (await feed.receive())["type"] != "moved":
            pass
    after = await stats(client, tenant)
    assert after["events"]["delivered"] == before["events"]["delivered"] + 1
    assert after["events"]["published"] == before["events"]["published"] + 1
    assert after["events"]["unacknowledged"] == 0
    for kind in ("moved", "snapshot", "event", "joined", "event_stored"):
        assert after["frames"][kind] > before["frames"].get(kind, 0), kind
        assert after["bytes"][kind] > before["bytes"].get(kind, 0), kind
    assert 0 < after["fix_to_watcher_secs"]["p50"] <= after["fix_to_watcher_secs"]["p99"] < 5


async def test_many_sockets_are_told_of_a_stop_one_after_the_other(module_database, session):
    """Forty a second here, so that sixty take a second and a half."""
    tenant = await asyncio.to_thread(Tenant, module_database)
    with serving("--database-url", module_database, settings={"FLEETWIRE_STOP_SOCKETS_PER_SEC": "40"}) as server:
        client = Client(server.url, session)
        async with contextlib.AsyncExitStack() as stack:
            feeds = [
                await stack.enter_async_context(client.socket(DISPATCH, token=tenant.dispatcher)) for _ in range(60)
            ]
            ended = []

            async def end(feed):
                code = await feed.closed(within_secs=20)
                ended.append(time.monotonic())
                return code

            waiting = [asyncio.ensure_future(end(feed)) for feed in feeds]
            stopping = asyncio.ensure_future(asyncio.to_thread(server.stop))
            assert set(await asyncio.gather(*waiting)) == {1012}
            assert await stopping == 0
        assert server.faults() == []
    assert 1 < ended[-1] - ended[0] < 4
