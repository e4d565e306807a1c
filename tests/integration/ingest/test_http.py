"""`POST /api/driver/location` as a sender sees it: receipts, forms of a batch, and who may send for which device."""

import asyncio
import gzip
import json

import msgpack
import pytest

from harness.client import LOCATION
from harness.database import execute, rows, stored, stored_times
from harness.fixes import fix, now_millis, track

MSGPACK = {"Content-Type": "application/msgpack"}
START = 1_763_768_400_000  # 2025-11-21T23:40:00Z, 20 minutes before a UTC midnight


async def test_every_fix_is_accounted_for_once(client, tenant):
    fixes = track(50)
    bad = [fix(latitude=91), fix(timestamp=0), {"latitude": 1}]
    sent = [*fixes[:10], bad[0], *fixes[10:20], bad[1], fixes[3], *fixes[20:], bad[2]]
    answer = await client.send({"device": "van", "fixes": sent}, token=tenant.ingest)
    rejected = {10: "latitude_range", 21: "timestamp_past", 53: "timestamp_missing"}
    assert answer.receipt == (50, 1, rejected)
    assert len(sent) == 50 + 1 + 3
    assert await stored_times(tenant.dsn, tenant.name) == [each["timestamp"] for each in fixes]

    again = await client.send({"device": "van", "fixes": sent}, token=tenant.ingest)
    assert again.receipt == (0, 51, rejected)
    overlapping = await client.send(
        {"device": "van", "fixes": track(60, start_millis=fixes[0]["timestamp"])}, token=tenant.ingest
    )
    assert overlapping.receipt == (10, 50, {})


async def test_order_of_sending_changes_nothing(client, tenant):
    fixes = track(30)
    newest_first = await client.send({"device": "van", "fixes": fixes[20:][::-1]}, token=tenant.ingest)
    oldest_later = await client.send({"device": "van", "fixes": fixes[:25]}, token=tenant.ingest)
    assert (newest_first.receipt, oldest_later.receipt) == ((10, 0, {}), (20, 5, {}))
    assert await stored_times(tenant.dsn, tenant.name) == [each["timestamp"] for each in fixes]


async def test_first_fix_of_a_time_is_the_one_that_stays(client, tenant):
    at = now_millis() - 1000
    within = await client.send(
        {"device": "van", "fixes": [fix(at, latitude=1), fix(at, latitude=2)]}, token=tenant.ingest
    )
    later = await client.send({"device": "van", "fixes": [fix(at, latitude=3)]}, token=tenant.ingest)
    assert (within.receipt, later.receipt) == ((1, 1, {}), (0, 1, {}))
    assert [row.lat_e7 for row in await stored(tenant.dsn, tenant.name)] == [10_000_000]


async def test_times_of_one_millisecond_apart_are_two_and_fractions_are_cut(client, tenant):
    at = now_millis() - 1000
    answer = await client.send({"device": "van", "fixes": [fix(at), fix(at + 0.9), fix(at + 1)]}, token=tenant.ingest)
    assert answer.receipt == (2, 1, {})
    assert await stored_times(tenant.dsn, tenant.name) == [at, at + 1]


async def test_batch_may_cross_midnight_and_years(client, tenant):
    times = [START, START + 1_199_999, START + 1_200_000, START + 86_400_000, 946_684_800_000, 1_583_366_022_000]
    answer = await client.send({"device": "van", "fixes": [fix(time) for time in times]}, token=tenant.ingest)
    assert answer.receipt == (6, 0, {})
    assert await stored_times(tenant.dsn, tenant.name) == sorted(times)
    assert (
        await client.send({"device": "van", "fixes": [fix(time) for time in times]}, token=tenant.ingest)
    ).receipt == (0, 6, {})


async def test_iso_time_and_milliseconds_name_the_same_moment(client, tenant):
    spellings = [START, "2025-11-21T23:40:00Z", "2025-11-22T00:40:00.000+01:00"]
    answer = await client.send({"device": "van", "fixes": [fix(each) for each in spellings]}, token=tenant.ingest)
    assert answer.receipt == (1, 2, {})


async def test_what_is_stored_is_what_was_sent(client, tenant):
    members = {"accuracy": 5.5, "altitude": -12.3, "heading": 271.25, "speed": 13.4, "battery": 0.805}
    fixes = [fix(START, latitude=-48.1371549, longitude=179.9999999, **members), fix(START + 1)]
    assert (await client.send({"device": "Lkw 3 ä", "fixes": fixes}, token=tenant.ingest)).receipt == (2, 0, {})
    found = await rows(tenant.dsn, "SELECT * FROM fix WHERE tenant = $1 ORDER BY fixed_at", tenant.name)
    full, bare = map(dict, found)
    assert list(full) == [
        "tenant_id", "tenant", "device", "fixed_at", "latitude", "longitude", "accuracy", "altitude", "heading",
        "speed", "battery", "received_at",
    ]  # fmt: skip
    assert (full["device"], full["latitude"], full["longitude"]) == ("Lkw 3 ä", -48.1371549, 179.9999999)
    assert {name: round(full[name], 4) for name in members} == members
    assert {bare[name] for name in members} == {None}
    assert abs(full["received_at"].timestamp() * 1000 - now_millis()) < 60_000


@pytest.mark.parametrize("pack", [json.dumps, msgpack.packb], ids=["json", "msgpack"])
async def test_envelope_array_and_single_fix_are_batches(client, tenant, pack):
    token = await tenant.issue_async("device", "van")
    headers = {"Content-Type": "application/msgpack" if pack is msgpack.packb else "application/json; charset=utf-8"}
    fixes = track(7)
    for batch, count in [({"fixes": fixes[:3]}, 3), (fixes[3:6], 3), (fixes[6], 1), ({"device": "van", **fixes[6]}, 0)]:
        packed = pack(batch)
        answer = await client.send(
            packed if isinstance(packed, bytes) else packed.encode(), token=token, headers=headers
        )
        assert answer.receipt == (count, 1 - min(count, 1), {})
    assert await stored_times(tenant.dsn, tenant.name, "van") == [each["timestamp"] for each in fixes]


async def test_gzip_holds_the_same_batch(client, tenant):
    fixes = track(500)
    for body, headers in [
        (json.dumps({"device": "van", "fixes": fixes}).encode(), {}),
        (msgpack.packb({"device": "van", "fixes": fixes}), MSGPACK),
    ]:
        answer = await client.send(
            gzip.compress(body), token=tenant.ingest, headers={**headers, "Content-Encoding": "gzip"}
        )
        assert sum(answer.receipt[:2]) == 500
    assert len(await stored_times(tenant.dsn, tenant.name)) == 500


async def test_ten_thousand_fixes_are_one_batch(client, tenant):
    answer = await client.send({"device": "van", "fixes": track(10_000, step_millis=500)}, token=tenant.ingest)
    assert answer.receipt == (10_000, 0, {})


async def test_batch_of_nothing_but_bad_fixes_is_answered_and_creates_no_row(client, tenant):
    answer = await client.send({"device": "van", "fixes": [fix(latitude=91), 5]}, token=tenant.ingest)
    assert answer.receipt == (0, 0, {0: "latitude_range", 1: "fix_type"})
    assert await stored(tenant.dsn, tenant.name) == []


async def test_device_token_speaks_for_its_device_alone(client, tenant):
    token = await tenant.issue_async("device", "van")
    fixes = track(3)
    assert (await client.send({"fixes": fixes[:1]}, token=token)).receipt == (1, 0, {})
    assert (await client.send({"device": "van", "fixes": fixes[1:2]}, token=token)).receipt == (1, 0, {})
    assert (await client.send({"device": "bus", "fixes": fixes[2:]}, token=token)).refusal == (403, "device_mismatch")
    assert {row.device for row in await stored(tenant.dsn, tenant.name)} == {"van"}
    assert (await client.send({"device": "van", "fixes": fixes}, token=tenant.ingest)).receipt == (1, 2, {})


async def test_ingest_key_creates_devices_at_first_sight_each_once(client, tenant):
    answers = await asyncio.gather(
        *(
            client.send({"device": f"van-{number % 5}", "fixes": [fix(START + number)]}, token=tenant.ingest)
            for number in range(40)
        )
    )
    assert [answer.receipt for answer in answers] == [(1, 0, {})] * 40
    names = "SELECT device.name FROM device JOIN tenant t USING (tenant_id) WHERE t.name = $1 ORDER BY 1"
    assert [row["name"] for row in await rows(tenant.dsn, names, tenant.name)] == [
        f"van-{number}" for number in range(5)
    ]
    assert (await client.send([fix()], token=tenant.ingest)).refusal == (400, "device_missing")


async def test_device_limit_refuses_the_next_one_and_no_other(client, tenant):
    await execute(tenant.dsn, "UPDATE tenant SET device_limit = 2 WHERE name = $1", tenant.name)
    for name, expected in [("a", 200), ("b", 200), ("c", 403), ("a", 200), ("c", 403)]:
        answer = await client.send({"device": name, "fixes": [fix()]}, token=tenant.ingest)
        assert answer.status == expected
        if expected == 403:
            assert answer.code == "device_limit"
    assert {row.device for row in await stored(tenant.dsn, tenant.name)} == {"a", "b"}
    await execute(tenant.dsn, "UPDATE tenant SET device_limit = 3 WHERE name = $1", tenant.name)
    assert (await client.send({"device": "c", "fixes": [fix()]}, token=tenant.ingest)).receipt == (1, 0, {})


async def test_same_name_in_two_tenants_is_two_devices(client, tenant, rival):
    at = now_millis() - 5000
    mine = await client.send({"device": "van", "fixes": [fix(at, latitude=1)]}, token=tenant.ingest)
    theirs = await client.send({"device": "van", "fixes": [fix(at, latitude=2)]}, token=rival.ingest)
    assert mine.receipt == theirs.receipt == (1, 0, {})
    for company, latitude in [(tenant, 1), (rival, 2)]:
        assert [row.lat_e7 for row in await stored(company.dsn, company.name)] == [latitude * 10_000_000]
        live = (await client.get("/api/live", token=company.dispatcher)).json
        assert [feature["geometry"]["coordinates"][1] for feature in live["features"]] == [latitude]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_post_sends(client, tenant, method):
    answer = await client.request(method, LOCATION, token=tenant.ingest, body=b"[]")
    assert answer.refusal == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/livez", "GET"), ("DELETE", "/api/live", "GET"), ("GET", "/api/login", "POST")],
)
async def test_a_wrong_method_is_told_the_right_ones(client, tenant, method, path, allowed):
    answer = await client.request(method, path, token=tenant.dispatcher)
    assert answer.refusal == (405, "method_not_allowed")
    assert allowed in answer.headers["Allow"].split(", ")
    assert method not in answer.headers["Allow"].split(", ")


async def test_every_answer_says_how_long_it_took_and_is_nobody_s_to_keep(client, tenant):
    for answer in [
        await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest),
        await client.send(b"{", token=tenant.ingest),
        await client.send([], token=None),
        await client.get(LOCATION),
        await client.get("/api/live", token=tenant.dispatcher),
        await client.get("/livez"),
        await client.get("/no/such/page", token=tenant.dispatcher),
    ]:
        millis = answer.headers["X-Response-Time"]
        assert millis.endswith("ms")
        assert 0 <= float(millis.removesuffix("ms")) < 10_000
    assert answer.refusal == (404, "not_found")
    assert (await client.send([], token=None)).headers["Cache-Control"] == "no-store"
