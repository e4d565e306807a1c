"""What a worker keeps: every state of X-Cache, whose answer it is, what a write does, and one rendering for all."""

import asyncio
import time

import pytest

from harness.client import Client
from harness.fixes import fix, track
from harness.process import serving

DEVICES = "/api/devices"
WAIT_SECS = 30.0


@pytest.fixture
async def admin(tenant):
    """Who may read the figures."""
    return await tenant.issue_async("user", "ada", "admin")


@pytest.fixture
def stats(client, admin):
    async def stats():
        answer = await client.get("/api/cache/stats", token=admin)
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.json

    return stats


@pytest.fixture
async def van(client, tenant):
    answer = await client.send({"device": "van", "fixes": track(30)}, token=tenant.ingest)
    assert answer.receipt == (30, 0, {})


def names(answer):
    return [device["name"] for device in answer.json["devices"]]


async def until(ask, holds):
    """Asks until the answer is as wanted, and returns it."""
    deadline = time.monotonic() + WAIT_SECS
    while not holds(answer := await ask()):
        assert time.monotonic() < deadline, (answer.status, dict(answer.headers), answer.body[:500])
        await asyncio.sleep(0.05)
    return answer


async def test_list_is_made_once_then_kept_then_stale_then_made_anew_behind(client, tenant, van):
    def ask():
        return client.get(DEVICES, token=tenant.dispatcher)

    first, second = await ask(), await ask()
    assert [first.headers["X-Cache"], second.headers["X-Cache"]] == ["MISS", "HIT"]
    assert first.body == second.body
    assert first.headers["ETag"] == second.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert {"accept-encoding", "authorization", "cookie"} == set(first.headers["Vary"].split(", "))
    assert first.headers["X-Response-Time"].endswith("ms")
    fixed_at = track(1)[0]["timestamp"] + 3_600_000
    await client.send({"device": "van", "fixes": [fix(fixed_at)]}, token=tenant.ingest)
    stale = await until(ask, lambda answer: answer.headers["X-Cache"] == "STALE")
    assert stale.body == first.body
    renewed = await until(ask, lambda answer: answer.headers["X-Cache"] != "STALE")
    assert renewed.json["devices"][0]["last_fixed_at"] == fixed_at


async def test_pages_follow_each_other_and_have_keys_of_their_own(client, tenant):
    for name in ("bus", "cab", "van"):
        await client.send({"device": name, "fixes": [fix()]}, token=tenant.ingest)
    first = await client.get(DEVICES, token=tenant.dispatcher, limit="2")
    assert (names(first), first.json["next"]) == (["bus", "cab"], "cab")
    last = await client.get(DEVICES, token=tenant.dispatcher, limit="2", after="cab")
    assert (last.headers["X-Cache"], names(last), last.json["next"]) == ("MISS", ["van"], None)
    turned = await client.request("GET", f"{DEVICES}?after=cab&limit=2", token=tenant.dispatcher)
    assert turned.headers["X-Cache"] == "HIT"
    for limit in ("0", "1001", "many"):
        refused = await client.get(DEVICES, token=tenant.dispatcher, limit=limit)
        assert refused.refusal == (400, "request_invalid")
        assert refused.headers["X-Cache"] == "MISS"
    first_wins = await client.request("GET", f"{DEVICES}?limit=2&limit=1", token=tenant.dispatcher)
    other_order = await client.request("GET", f"{DEVICES}?limit=1&limit=2", token=tenant.dispatcher)
    assert other_order.headers["X-Cache"] == "MISS"
    assert len(names(first_wins)) != len(names(other_order)) or first_wins.status == 400


async def test_new_device_is_in_the_next_list(client, tenant):
    seen = []
    for number in range(5):
        await client.send({"device": f"car-{number}", "fixes": [fix()]}, token=tenant.ingest)
        seen.append(f"car-{number}")
        answer = await client.get(DEVICES, token=tenant.dispatcher)
        assert (names(answer), answer.headers["X-Cache"]) == (seen, "MISS")
    assert (await client.get(DEVICES, token=tenant.dispatcher)).headers["X-Cache"] == "HIT"
    await tenant.issue_async("device", "made-by-command")
    await until(lambda: client.get(DEVICES, token=tenant.dispatcher), lambda answer: "made-by-command" in names(answer))


async def test_live_positions_are_kept_until_something_moves(client, tenant, van):
    def ask(**headers):
        return client.request("GET", "/api/live", token=tenant.dispatcher, headers=headers)

    first = await ask()
    # Older than the van's track: history, which moves nothing.
    await client.send({"device": "van", "fixes": [fix(latitude=40.5)]}, token=tenant.ingest)
    assert (await until(ask, lambda answer: answer.headers["X-Cache"] == "HIT")).json == first.json
    start = track(1)[0]["timestamp"] + 3_600_000
    for step in range(20):
        await client.send({"device": "van", "fixes": [fix(start + step, latitude=step / 2)]}, token=tenant.ingest)
        exact = await ask(**{"Cache-Control": "no-cache"})
        assert exact.json["features"][0]["geometry"]["coordinates"][1] == step / 2
    kept = await until(ask, lambda answer: answer.headers["X-Cache"] == "HIT")
    unchanged = await ask(**{"If-None-Match": kept.headers["ETag"]})
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert unchanged.headers["ETag"] == kept.headers["ETag"]
    await client.send({"device": "van", "fixes": [fix(start + 99)]}, token=tenant.ingest)
    changed = await ask(**{"If-None-Match": kept.headers["ETag"], "Cache-Control": "max-age=0, no-cache"})
    assert changed.status == 200


async def test_live_positions_are_kept_for_two_seconds_while_devices_move(client, tenant, van):
    def ask():
        return client.get("/api/live", token=tenant.dispatcher)

    start = track(1)[0]["timestamp"] + 3_600_000
    stored, states = {}, []
    for step in range(60):
        await client.send({"device": "van", "fixes": [fix(start + step)]}, token=tenant.ingest)
        asked_secs = time.monotonic()
        stored[start + step] = asked_secs
        answer = await ask()
        states.append(answer.headers["X-Cache"])
        shown = answer.json["features"][0]["properties"]["timestamp"]
        # What was stored 2 s before the question, and a moment for making it, is in the answer.
        due = [moment for moment, stored_secs in stored.items() if stored_secs < asked_secs - 2.5]
        assert shown >= max(due, default=0), states
        await asyncio.sleep(0.05)
    assert states[0] == "MISS"
    assert {"HIT", "STALE"} <= set(states)
    assert states.count("MISS") < 6  # a machine that stands still for 2 seconds makes a further one
    await until(ask, lambda answer: answer.json["features"][0]["properties"]["timestamp"] == start + 59)


async def test_movements_of_one_tenant_leave_the_answers_of_another_alone(client, tenant, rival, van):
    await client.send({"device": "rover", "fixes": [fix()]}, token=rival.ingest)

    async def kept():
        await until(
            lambda: client.get("/api/live", token=rival.dispatcher), lambda answer: answer.headers["X-Cache"] == "HIT"
        )

    await kept()
    # The tick that closes after the movement numbers the positions anew, once.
    await asyncio.sleep(1)
    await kept()
    start = track(1)[0]["timestamp"] + 3_600_000
    for step in range(5):
        await client.send({"device": "van", "fixes": [fix(start + step)]}, token=tenant.ingest)
        assert (await client.get("/api/live", token=rival.dispatcher)).headers["X-Cache"] == "HIT"


async def test_what_is_kept_for_one_is_nobody_elses(client, tenant, rival, van):
    viewer = await tenant.issue_async("user", "vera", "viewer")
    driver = await tenant.issue_async("user", "dan", "driver")
    await client.send({"device": "rover", "fixes": [fix()]}, token=rival.ingest)
    for path in (DEVICES, "/api/live"):
        own = await client.get(path, token=tenant.dispatcher)
        shared = await client.get(path, token=viewer)
        assert (shared.headers["X-Cache"], shared.body) == ("HIT", own.body)
        foreign = await client.get(path, token=rival.dispatcher)
        assert foreign.headers["X-Cache"] == "MISS"
        assert b"van" not in foreign.body
        assert b"rover" in foreign.body
        etag = own.headers["ETag"]
        for token, refusal in [(None, (401, "token_missing")), (driver, (403, "forbidden"))]:
            assert (await client.get(path, token=token)).refusal == refusal
            refused = await client.request("GET", path, token=token, headers={"If-None-Match": etag})
            assert refused.refusal == refusal
    await tenant.revoke(viewer)
    await until(lambda: client.get(DEVICES, token=viewer), lambda answer: answer.status == 401)


async def test_conditions_are_compared_as_the_standard_says(client, tenant, van):
    etag = (await client.get(DEVICES, token=tenant.dispatcher)).headers["ETag"]
    strong = etag.removeprefix("W/")
    for condition in (etag, strong, "*", f'"other", {etag}', f'W/"x",{strong}'):
        answer = await client.request("GET", DEVICES, token=tenant.dispatcher, headers={"If-None-Match": condition})
        assert (answer.status, answer.body) == (304, b""), condition
        assert answer.headers["X-Cache"] in {"HIT", "STALE"}
    for condition in ('"other"', strong.strip('"'), ""):
        answer = await client.request("GET", DEVICES, token=tenant.dispatcher, headers={"If-None-Match": condition})
        assert answer.status == 200, condition


async def test_past_track_is_not_sent_again_until_a_late_fix_comes(client, tenant, van):
    start = track(1)[0]["timestamp"] - 60_000
    path = f"/api/devices/van/track?from={start}&to={start + 600_000}"

    def ask(**headers):
        return client.request("GET", path, token=tenant.dispatcher, headers=headers)

    first = await ask()
    assert (first.status, len(first.json["features"])) == (200, 30)
    assert first.headers["Cache-Control"] == "private, no-cache"
    known = {"If-None-Match": first.headers["ETag"]}
    unchanged = await ask(**known)
    assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", first.headers["ETag"])
    await client.send({"device": "van", "fixes": track(30)[:1]}, token=tenant.ingest)
    late = fix(first.json["features"][3]["properties"]["timestamp"] + 500)
    assert (await client.send({"device": "van", "fixes": [late]}, token=tenant.ingest)).receipt == (1, 0, {})
    changed = await ask(**known)
    assert (changed.status, len(changed.json["features"])) == (200, 32)
    assert (await ask(**{"If-None-Match": changed.headers["ETag"]})).status == 304
    open_end = await client.get("/api/devices/van/track", token=tenant.dispatcher)
    assert (open_end.headers["Cache-Control"], "ETag" in open_end.headers) == ("no-store", False)


async def test_a_thousand_first_readers_make_one_query(client, tenant, stats, van):
    await client.get(DEVICES, token=tenant.dispatcher, limit="1")  # The credential is known from now on.
    before = (await stats())["handler_calls"]
    answers = await asyncio.gather(*(client.get(DEVICES, token=tenant.dispatcher) for _ in range(1_000)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    after = await stats()
    # The connections of the test take some seconds: an answer may have got old and been made again behind.
    states = [answer.headers["X-Cache"] for answer in answers]
    assert after["handler_calls"] - before == 1 + (1 if "STALE" in states else 0)
    assert after["being_made"] == 0
    assert 0 < after["entries"] <= after["max_entries"]
    assert 0 < after["bytes"] <= after["max_bytes"]


async def test_metrics_count_what_the_figures_say(client, tenant, admin, stats, van):
    await client.get(DEVICES, token=tenant.dispatcher)
    await client.get(DEVICES, token=tenant.dispatcher)
    figures = await stats()
    text = (await client.get("/metrics", token=admin)).body.decode()
    for result, count in figures["requests"].items():
        assert f'fleetwire_cache_requests_total{{result="{result}"}} {float(count)}' in text
    assert f"fleetwire_cache_entries {float(figures['entries'])}" in text
    assert figures["second_level"] is None


async def test_write_on_one_server_is_seen_on_the_other(client, server, session, tenant, van):
    with serving("--database-url", tenant.dsn) as second:
        other = Client(second.url, session)
        for each in (client, other):
            await each.get(DEVICES, token=tenant.dispatcher)
            assert (await each.get(DEVICES, token=tenant.dispatcher)).headers["X-Cache"] in {"HIT", "STALE"}
        for number in range(3):
            name = f"made-{number}"
            await client.send({"device": name, "fixes": [fix()]}, token=tenant.ingest)
            started = time.monotonic()
            answer = await until(
                lambda: other.get(DEVICES, token=tenant.dispatcher),
                lambda answer, name=name: name in names(answer),
            )
            if time.monotonic() - started < 1.5:
                assert answer.headers["X-Cache"] in {"MISS", "HIT"}
        assert second.stop() == 0
        assert second.faults() == []
