"""`/ws/dispatch` as a dispatcher's page sees it: a snapshot, then what moved, to its owners and in time."""

import asyncio
import json
import statistics
import time
from contextlib import asynccontextmanager

import pytest

from fleetwire.client.frames import expand_rows
from harness.fixes import fix, now_millis, track
from harness.tenants import PASSWORD

PATH = "/ws/dispatch"
TICK_SECS = 0.25
QUIET_SECS = 0.7  # more than two ticks: what would be told has been told


@pytest.fixture
def watching(client, tenant):
    """An open feed past its snapshot."""

    @asynccontextmanager
    async def watching(token=None):
        async with client.socket(PATH, token=token or tenant.dispatcher) as feed:
            await feed.send({"type": "watch"})
            feed.snapshot = await feed.receive_type("snapshot")
            yield feed

    return watching


async def move(client, tenant, device, *fixes):
    answer = await client.send({"device": device, "fixes": list(fixes)}, token=tenant.ingest)
    assert answer.status == 200
    return answer.receipt


def times(frame):
    return {position["device"]: position["timestamp"] for position in frame["positions"]}


async def test_snapshot_comes_first_and_has_every_position(client, tenant, watching):
    full = fix(accuracy=5, altitude=519, heading=271, speed=13.4, battery=0.8)
    await move(client, tenant, "van", fix(full["timestamp"] - 1), full)
    await move(client, tenant, "bus", bare := fix())
    await move(client, tenant, "lorry", fix(latitude=91))  # known, but nowhere yet
    async with watching() as feed:
        snapshot = feed.snapshot
    assert snapshot.keys() == {"type", "epoch", "seq", "positions"}
    by_device = {position["device"]: position for position in snapshot["positions"]}
    assert by_device == {"van": {"device": "van", **full}, "bus": {"device": "bus", **bare}}


async def test_rows_say_what_objects_say(client, tenant, watching):
    await move(client, tenant, "van", fix(accuracy=5, altitude=519, heading=271, speed=13.4, battery=0.8))
    await move(client, tenant, "bus", fix(altitude=-3.5, speed=0))
    await move(client, tenant, 'a "lorry"', fix())
    await settle()
    offer = {"Sec-WebSocket-Protocol": "fleetwire.v9.yaml, fleetwire.v1.rows, fleetwire.v1.json"}
    async with watching() as plain, client.socket(PATH, token=tenant.dispatcher, headers=offer) as compact:
        await compact.send({"type": "watch"})
        snapshot = await compact.receive_type("snapshot")
        assert {len(row) for row in snapshot["positions"]} == {9, 8, 4}
        expand_rows(snapshot)
        assert snapshot == plain.snapshot
        await move(client, tenant, "van", fix(speed=1))
        moved = await compact.receive_type("moved")
        assert moved["columns"][:4] == ["device", "timestamp", "latitude", "longitude"]
        expand_rows(moved)
        assert moved == await plain.receive_type("moved")


async def settle():
    """Lets a tick pass: what moved since the last one is in a snapshot and in the next frame again."""
    await asyncio.sleep(TICK_SECS * 1.6)


async def test_movement_is_told_within_half_a_second_of_its_receipt(client, tenant, watching):
    delays = []
    async with watching() as feed:
        for _ in range(9):
            sent = fix(now_millis())
            await move(client, tenant, "van", sent)
            stored = time.monotonic()
            frame = await feed.receive_type("moved")
            delays.append(time.monotonic() - stored)
            assert times(frame) == {"van": sent["timestamp"]}
    assert statistics.median(delays) < 2 * TICK_SECS, delays


async def test_frames_are_numbered_and_hold_the_newest_of_each_device_only(client, tenant, watching):
    fixes = track(100)
    async with watching() as feed:
        seq = feed.snapshot["seq"]
        await move(client, tenant, "van", *fixes)
        frame = await feed.receive_type("moved")
        assert (frame["seq"], times(frame)) == (seq + 1, {"van": fixes[-1]["timestamp"]})
        assert frame.keys() == {"type", "seq", "positions"}
        await asyncio.gather(*(move(client, tenant, f"bus-{number}", fix()) for number in range(20)))
        seen = {}
        while len(seen) < 20:
            frame = await feed.receive_type("moved")
            seq += 1
            assert frame["seq"] == seq + 1
            assert not seen.keys() & times(frame).keys()
            seen |= times(frame)
        await feed.silent(for_secs=QUIET_SECS)


async def test_late_fix_is_history_and_moves_nothing(client, tenant, watching):
    late, newest = track(2)
    async with watching() as feed:
        await move(client, tenant, "van", newest)
        assert times(await feed.receive_type("moved")) == {"van": newest["timestamp"]}
        assert await move(client, tenant, "van", late) == (1, 0, {})
        assert await move(client, tenant, "van", newest) == (0, 1, {})
        await feed.silent(for_secs=QUIET_SECS)
    async with watching() as feed:
        assert times(feed.snapshot) == {"van": newest["timestamp"]}


@pytest.mark.parametrize("moving", [False, True], ids=["at rest", "moving"])
async def test_whoever_says_nothing_watches_everything_after_a_second(client, tenant, moving):
    await move(client, tenant, "bus", fix())
    await settle()
    started = time.monotonic()
    async with client.socket(PATH, token=tenant.dispatcher) as feed:
        if moving:
            await move(client, tenant, "van", fix())
        snapshot = await feed.receive_type("snapshot")
        assert 0.9 < time.monotonic() - started < 3
        assert set(times(snapshot)) == ({"bus", "van"} if moving else {"bus"})


async def test_resume_gets_what_moved_since_and_nothing_else(client, tenant, watching):
    await move(client, tenant, "van", fix())
    await move(client, tenant, "bus", fix())
    await settle()
    async with watching() as feed:
        epoch = feed.snapshot["epoch"]
        await move(client, tenant, "van", fix())
        seq = (await feed.receive_type("moved"))["seq"]
    moves = [fix() for _ in range(3)]
    await move(client, tenant, "bus", moves[0])
    await asyncio.sleep(QUIET_SECS)
    await move(client, tenant, "bus", moves[1])
    await move(client, tenant, "lorry", moves[2])
    await asyncio.sleep(QUIET_SECS)
    async with client.socket(PATH, token=tenant.dispatcher) as feed:
        await feed.send({"type": "resume", "epoch": epoch, "seq": seq})
        frame = await feed.receive_type("moved")
        assert times(frame) == {"bus": moves[1]["timestamp"], "lorry": moves[2]["timestamp"]}
        assert frame["seq"] > seq + 1
        await feed.silent(for_secs=QUIET_SECS)
        await move(client, tenant, "van", fix())
        assert (await feed.receive_type("moved"))["seq"] == frame["seq"] + 1
    async with client.socket(PATH, token=tenant.dispatcher) as feed:
        await feed.send({"type": "resume", "epoch": epoch, "seq": frame["seq"] + 1})
        await feed.silent(for_secs=QUIET_SECS)


async def test_resume_of_another_epoch_or_from_the_future_starts_anew(client, tenant, watching):
    await move(client, tenant, "van", fix())
    async with watching() as feed:
        epoch, seq = feed.snapshot["epoch"], feed.snapshot["seq"]
    for asked in ({"epoch": "0" * 16, "seq": seq}, {"epoch": epoch, "seq": seq + 1_000}, {"epoch": epoch, "seq": -1}):
        async with client.socket(PATH, token=tenant.dispatcher) as feed:
            await feed.send({"type": "resume", **asked})
            assert (await feed.receive_type("resync"))["epoch"] == epoch
            snapshot = await feed.receive_type("snapshot")
            assert (snapshot["epoch"], set(times(snapshot))) == (epoch, {"van"})


async def test_tenants_see_their_own_and_no_trace_of_others(client, tenant, rival, watching):
    await move(client, tenant, "van", fix())
    await move(client, rival, "rover", fix())
    await settle()
    async with watching() as mine, watching(rival.dispatcher) as theirs:
        assert (set(times(mine.snapshot)), set(times(theirs.snapshot))) == ({"van"}, {"rover"})
        for _ in range(3):
            await move(client, tenant, "van", fix())
            assert set(times(await mine.receive_type("moved"))) == {"van"}
        await theirs.silent(for_secs=QUIET_SECS)
        await move(client, rival, "van", fix(latitude=-1))
        assert [position["latitude"] for position in (await theirs.receive_type("moved"))["positions"]] == [-1]
        await mine.silent(for_secs=QUIET_SECS)


async def test_only_users_who_watch_may_watch(client, tenant):
    for role in ("viewer", "dispatcher", "admin"):
        token = await tenant.issue_async("user", f"one-{role}", role)
        async with client.socket(PATH, token=token) as feed:
            await feed.send({"type": "watch"})
            await feed.receive_type("snapshot")
    refused = [await tenant.issue_async("user", f"one-{role}", role) for role in ("customer", "driver")]
    refused += [tenant.ingest, await tenant.issue_async("device", "van")]
    for token in refused:
        assert (await client.handshake(PATH, token=token)).refusal == (403, "forbidden")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "message_invalid"),
        ("[]", "message_invalid"),
        ('{"type":"dance"}', "message_invalid"),
        ('{"type":"resume","epoch":1,"seq":"x"}', "message_invalid"),
        ("[" * 100_000, "message_invalid"),
        ('{"type":"watch","area":[5.8,47.2,15.1]}', "watch_area_invalid"),
        ('{"type":"watch","area":[5.8,55.1,15.1,47.2]}', "watch_area_invalid"),
        ('{"type":"watch","area":[5.8,47.2,180.1,55.1]}', "watch_area_invalid"),
        ('{"type":"watch","area":[5.8,47.2,"15",55.1]}', "watch_area_invalid"),
        ('{"type":"resume","epoch":"x","seq":1,"area":{}}', "watch_area_invalid"),
        ('{"type":"watch","devices":"van"}', "watch_devices_invalid"),
        ('{"type":"watch","devices":[""]}', "watch_devices_invalid"),
        pytest.param(json.dumps({"type": "watch", "devices": ["a"] * 1001}), "watch_devices_invalid", id="too many"),
        ('{"type":"watch","status":"flying"}', "watch_status_invalid"),
        ('{"type":"watch","status":[]}', "watch_status_invalid"),
        ('{"type":"watch","orders":[1]}', "watch_orders_invalid"),
    ],
)
async def test_message_that_cannot_be_followed_is_answered_and_the_feed_goes_on(
    client, tenant, watching, message, code
):
    async with watching() as feed:
        await feed.send(message)
        assert (await feed.receive_type("error"))["code"] == code
        await move(client, tenant, "van", sent := fix())
        assert times(await feed.receive_type("moved")) == {"van": sent["timestamp"]}


async def test_revoked_watcher_is_closed_within_a_second(client, tenant, watching):
    async with watching() as feed:
        await tenant.revoke(tenant.dispatcher)
        assert await feed.closed(within_secs=1) == 4401


async def test_logout_closes_the_page_s_feed(client, tenant):
    tenant.user("drew", "viewer")
    token = (await client.login(tenant.name, "drew", PASSWORD)).json["token"]
    async with client.socket(PATH, token=token) as feed:
        await feed.send({"type": "watch"})
        await feed.receive_type("snapshot")
        assert (await client.request("POST", "/api/logout", token=token)).status == 204
        assert await feed.closed(within_secs=1) == 4401
