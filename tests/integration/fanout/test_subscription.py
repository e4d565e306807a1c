"""Watching a part of the fleet: who comes, who moves and who leaves, over real sockets and in both formats."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from fleetwire.client import Feed, FeedFilter
from harness.fixes import fix, now_millis
from harness.fixtures import running_server

SETTINGS = {"FLEETWIRE_FEED_OFFLINE_SECS": "3"}
PATH = "/ws/dispatch"
QUIET_SECS = 0.7  # more than two ticks: what would be told has been told
FIJI = [177.0, -20.0, -178.0, -16.0]


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(module_database, SETTINGS)


async def move(client, tenant, device, **members):
    answer = await client.send({"device": device, "fixes": [fix(now_millis(), **members)]}, token=tenant.ingest)
    assert answer.receipt == (1, 0, {})


@asynccontextmanager
async def watching(client, tenant, **members):
    async with client.socket(PATH, token=tenant.dispatcher) as feed:
        await feed.send({"type": "watch", **members})
        feed.snapshot = await feed.receive_type("snapshot")
        yield feed


def names(frame):
    return [position["device"] for position in frame["positions"]], frame.get("left", [])


async def test_a_device_enters_an_area_over_the_antimeridian_and_leaves_it(client, tenant):
    await move(client, tenant, "boat", latitude=-18.0, longitude=176.9)
    await move(client, tenant, "ferry", latitude=-18.0, longitude=-179.0)
    async with watching(client, tenant, area=FIJI) as feed:
        assert names(feed.snapshot) == (["ferry"], [])
        await move(client, tenant, "boat", latitude=-18.0, longitude=179.9)
        assert names(await feed.receive_type("moved")) == (["boat"], [])
        await move(client, tenant, "boat", latitude=-18.0, longitude=-179.9)
        assert names(await feed.receive_type("moved")) == (["boat"], [])
        await move(client, tenant, "boat", latitude=-18.0, longitude=-177.9)
        assert names(await feed.receive_type("moved")) == ([], ["boat"])
        await move(client, tenant, "boat", latitude=-18.0, longitude=-177.0)
        await feed.silent(for_secs=QUIET_SECS)
        await feed.send({"type": "watch", "area": [-177.5, -20, -176, -16]})
        assert names(await feed.receive_type("snapshot")) == (["boat"], [])


async def test_a_device_that_is_not_known_yet_appears_when_it_comes(client, tenant):
    await move(client, tenant, "other")
    async with watching(client, tenant, devices=["stranger", "van"]) as feed:
        assert names(feed.snapshot) == ([], [])
        await move(client, tenant, "other")
        await move(client, tenant, "stranger")
        assert names(await feed.receive_type("moved")) == (["stranger"], [])


async def test_who_stops_and_who_falls_silent_changes_the_feed(client, tenant):
    await move(client, tenant, "van", speed=12)
    async with (
        watching(client, tenant, status="moving") as moving,
        watching(client, tenant, status=["stopped"]) as stopped,
        watching(client, tenant, status="offline") as offline,
    ):
        assert [names(feed.snapshot)[0] for feed in (moving, stopped, offline)] == [["van"], [], []]
        await move(client, tenant, "van", speed=0)
        assert names(await moving.receive_type("moved")) == ([], ["van"])
        assert names(await stopped.receive_type("moved")) == (["van"], [])
        # Nothing moves any more: time alone tells.
        assert names(await stopped.receive_type("moved", within_secs=20)) == ([], ["van"])
        assert names(await offline.receive_type("moved")) == (["van"], [])
        await moving.silent(for_secs=QUIET_SECS)
        await move(client, tenant, "van", speed=12)
        assert names(await offline.receive_type("moved")) == ([], ["van"])
        assert names(await moving.receive_type("moved")) == (["van"], [])


async def order(client, tenant, method, name, *devices):
    body = json.dumps({"devices": devices}).encode() if method == "PUT" else None
    headers = {"Content-Type": "application/json"} if body else {}
    path = f"/api/orders/{name}/devices"
    return await client.request(method, path, token=tenant.dispatcher, body=body, headers=headers)


async def test_an_order_shows_the_devices_that_work_on_it(client, tenant, rival):
    for device in ("van", "bus", "lorry"):
        await move(client, tenant, device)
    assert (await order(client, tenant, "PUT", "load%207", "van", "bus")).status == 204
    async with watching(client, tenant, orders=["load 7", "load 8"]) as feed:
        assert names(feed.snapshot) == (["van", "bus"], [])
        assert (await order(client, tenant, "PUT", "load%207", "bus", "lorry")).status == 204
        assert names(await feed.receive_type("moved")) == (["lorry"], ["van"])
        await move(client, tenant, "van")
        await feed.silent(for_secs=QUIET_SECS)
        assert (await order(client, tenant, "PUT", "load%207", "nobody")).refusal == (404, "device_unknown")
        assert (await order(client, rival, "DELETE", "load%207")).status == 204
        await feed.silent(for_secs=QUIET_SECS)
        assert (await order(client, tenant, "DELETE", "load%207")).status == 204
        assert names(await feed.receive_type("moved")) == ([], ["bus", "lorry"])
    assert (await order(client, tenant, "PUT", "x" * 129, "van")).refusal == (400, "order_name")


async def test_a_filtered_feed_resumes_exactly_and_only_with_its_filter(client, tenant):
    await move(client, tenant, "boat", latitude=-18.0, longitude=178.0)
    async with watching(client, tenant, area=FIJI) as feed:
        place = {"epoch": feed.snapshot["epoch"], "seq": feed.snapshot["seq"]}
    await move(client, tenant, "boat", latitude=-18.0, longitude=170.0)
    await move(client, tenant, "ferry", latitude=-18.0, longitude=179.0)
    await asyncio.sleep(QUIET_SECS)
    async with client.socket(PATH, token=tenant.dispatcher) as feed:
        await feed.send({"type": "resume", **place, "area": FIJI})
        assert names(await feed.receive_type("moved")) == (["ferry"], ["boat"])
        await move(client, tenant, "ferry", latitude=-18.0, longitude=179.1)
        assert names(await feed.receive_type("moved")) == (["ferry"], [])
    for other in ({}, {"area": [0, 0, 1, 1]}, {"area": FIJI, "status": "moving"}):
        async with client.socket(PATH, token=tenant.dispatcher) as feed:
            await feed.send({"type": "resume", **place, **other})
            resync = await feed.receive_type("resync")
            assert (await feed.receive_type("snapshot"))["epoch"] == resync["epoch"] != place["epoch"]


async def followed(feed, wanted):
    """Reads a feed until it shows these devices."""
    async with asyncio.timeout(20):
        while set(feed.positions) != wanted:
            await anext(feed)


@pytest.mark.parametrize("form", ["json", "rows", "protobuf"])
async def test_the_client_shows_what_its_filter_shows(client, server, tenant, form):
    await move(client, tenant, "van", latitude=48.0, longitude=11.0, speed=13.4, heading=271, altitude=-3.5, battery=1)
    await move(client, tenant, "bus", latitude=50.0, longitude=11.0)
    async with Feed(server.url, tenant.dispatcher, FeedFilter(area=(10, 47, 12, 49)), encoding=form) as feed:
        await followed(feed, {"van"})
        shown = feed.positions["van"]
        assert (shown["device"], shown["latitude"], shown["longitude"], shown["heading"]) == ("van", 48, 11, 271)
        assert (shown["speed"], shown["altitude"], shown["battery"]) == (13.4, -3.5, 1)
        assert "accuracy" not in shown
        await move(client, tenant, "bus", latitude=48.5, longitude=11.5)
        await followed(feed, {"van", "bus"})
        await feed.reconnect()
        await move(client, tenant, "van", latitude=40.0, longitude=11.0)
        await move(client, tenant, "bus", latitude=48.25, longitude=11.5)
        await followed(feed, {"bus"})
        assert (feed.resumed, feed.positions["bus"]["latitude"]) == (1, 48.25)
        await feed.watch(FeedFilter(devices=("van",)))
        await followed(feed, {"van"})


@pytest.mark.parametrize("form", ["json", "rows", "protobuf"])
async def test_a_large_fleet_comes_in_pieces_and_is_whole(client, server, tenant, form):
    many = 1_500
    long = "\N{DELIVERY TRUCK}" * 60

    async def send(part):
        async with client.socket("/ws", token=tenant.ingest) as socket:
            for number in range(part, many, 4):
                batch = {"type": "batch", "id": 1, "device": f"{long}{number}", "fixes": [fix(now_millis())]}
                await socket.send(batch)
                assert (await socket.receive_type("receipt"))["stored"] == 1

    await asyncio.gather(*(send(part) for part in range(4)))
    async with Feed(server.url, tenant.dispatcher, encoding=form) as feed:
        await followed(feed, {f"{long}{number}" for number in range(many)})
        assert feed.messages > 5
    async with client.socket(PATH, token=tenant.dispatcher) as raw:
        await raw.send({"type": "watch"})
        pieces = [await raw.receive_type("snapshot")]
        while pieces[-1].get("more"):
            pieces.append(await raw.receive_type("snapshot"))
    assert len({piece["seq"] for piece in pieces}) == 1
    assert sum(len(piece["positions"]) for piece in pieces) == many


async def test_an_unknown_subprotocol_is_not_agreed_on(client, server, tenant):
    headers = {"Sec-WebSocket-Protocol": "fleetwire.v9.yaml"}
    async with client.socket(PATH, token=tenant.dispatcher, headers=headers) as feed:
        assert feed.raw.protocol is None
        await feed.send({"type": "watch"})
        await feed.receive_type("snapshot")
