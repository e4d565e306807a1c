"""`/ws` as a driver's app sees it: receipts and errors by id, and every way in which the socket closes."""

import asyncio
import json

import aiohttp
import msgpack
import pytest

from harness.client import read_receipt
from harness.database import stored_times
from harness.fixes import fix, track
from harness.tenants import PASSWORD

PATH = "/ws"
MEBIBYTE = 1 << 20


@pytest.fixture
async def token(tenant):
    return await tenant.issue_async("device", "van")


@pytest.fixture
async def socket(client, token):
    async with client.socket(PATH, token=token) as opened:
        yield opened


def batch(message_id, fixes, **members):
    return {"type": "batch", "id": message_id, "fixes": fixes, **members}


@pytest.mark.parametrize(
    ("sent", "answered"), [("41", "41"), (41, "41"), (2**63, str(2**63)), (-1, "-1"), ('ä "b"', 'ä "b"')]
)
async def test_receipt_carries_the_id(tenant, socket, sent, answered):
    good = fix()
    await socket.send(batch(sent, [good, good, fix(latitude=91)]))
    receipt = await socket.receive_type("receipt")
    assert receipt["id"] == answered
    assert read_receipt(receipt) == (1, 1, {2: "latitude_range"})
    assert await stored_times(tenant.dsn, tenant.name, "van") == [good["timestamp"]]


async def test_many_in_flight_are_each_answered_and_stored(tenant, socket):
    fixes = track(400)
    for number in range(40):
        await socket.send(batch(number, fixes[number * 10 : number * 10 + 10]))
    receipts = [await socket.receive_type("receipt") for _ in range(40)]
    assert sorted(int(receipt["id"]) for receipt in receipts) == list(range(40))
    assert {read_receipt(receipt)[:2] for receipt in receipts} == {(10, 0)}
    assert await stored_times(tenant.dsn, tenant.name) == [each["timestamp"] for each in fixes]


async def test_the_same_batch_in_flight_twice_is_stored_once(tenant, socket):
    fixes = track(100)
    for number in range(8):
        await socket.send(batch(number, fixes))
    receipts = [read_receipt(await socket.receive_type("receipt")) for _ in range(8)]
    assert sum(stored for stored, _, _ in receipts) == 100
    assert sum(duplicate for _, duplicate, _ in receipts) == 700
    assert len(await stored_times(tenant.dsn, tenant.name)) == 100


async def test_binary_message_is_messagepack(tenant, socket):
    good = fix()
    await socket.raw.send_bytes(msgpack.packb(batch(7, [good])))
    receipt = await socket.receive_type("receipt")
    assert (receipt["id"], read_receipt(receipt)) == ("7", (1, 0, {}))
    assert await stored_times(tenant.dsn, tenant.name) == [good["timestamp"]]


@pytest.mark.parametrize(
    ("message", "code", "answered"),
    [
        ('{"type":"batch","id":"a","fixes":[', "json_syntax", None),
        ("", "body_empty", None),
        (json.dumps(batch("b", [])), "batch_empty", "b"),
        (json.dumps({"type": "batch", "id": 5}), "batch_shape", "5"),
        (json.dumps(batch("c", [fix()], device="bus")), "device_mismatch", "c"),
        (json.dumps(batch("d", [fix()], device="")), "device_name", "d"),
        (json.dumps({"type": "watch", "id": "e"}), "message_type", "e"),
        (json.dumps(batch({}, [fix()])), "id_type", None),
        ('{"id":"f","fixes":[' + "5," * 10_000 + "5]}", "batch_too_large", "f"),
        (msgpack.packb(batch("g", [])), "batch_empty", "g"),
        (b"\xc1", "msgpack_syntax", None),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
async def test_error_carries_id_and_code_and_the_socket_stays_open(socket, message, code, answered):
    await (socket.raw.send_bytes(message) if isinstance(message, bytes) else socket.send(message))
    error = await socket.receive_type("error")
    assert (error["code"], error.get("id")) == (code, answered)
    assert error["detail"].endswith((".", "?"))
    await socket.send(batch("after", [fix()]))
    assert (await socket.receive_type("receipt"))["id"] == "after"


async def test_ingest_key_names_the_device_in_each_message(client, tenant):
    async with client.socket(PATH, token=tenant.ingest) as socket:
        await socket.send(batch("1", [fix()], device="van"))
        await socket.send(batch("2", [fix()]))
        await socket.send(batch("3", [fix()], device="bus"))
        answers = {answer["id"]: answer for answer in [await socket.receive() for _ in range(3)]}
    assert [answers[key]["type"] for key in "123"] == ["receipt", "error", "receipt"]
    assert answers["2"]["code"] == "device_missing"
    assert len(await stored_times(tenant.dsn, tenant.name, "van")) == 1


async def test_message_over_a_mebibyte_closes_the_socket(tenant, socket):
    text = json.dumps(batch("x", [fix()]))
    await socket.send(text + " " * (MEBIBYTE - len(text)))
    assert read_receipt(await socket.receive_type("receipt")) == (1, 0, {})
    await socket.send(text + " " * (MEBIBYTE + 1 - len(text)))
    assert await socket.closed() == 1009
    assert len(await stored_times(tenant.dsn, tenant.name)) == 1


async def test_revoked_token_closes_the_socket_within_a_second(tenant, socket, token):
    await socket.send(batch("1", [fix()]))
    await socket.receive_type("receipt")
    await tenant.revoke(token)
    assert await socket.closed(within_secs=1) == 4401


async def test_expired_token_closes_the_socket(client, tenant):
    token = await tenant.issue_async("device", "van", life_secs=1)
    async with client.socket(PATH, token=token) as socket:
        await socket.send(batch("1", [fix()]))
        await socket.receive_type("receipt")
        assert await socket.closed(within_secs=2) == 4401


async def test_handshake_without_a_right_is_refused_with_a_problem(client, tenant):
    for headers, token, refusal in [
        ({}, "fwd_" + "A" * 43, (401, "token_invalid")),
        ({}, tenant.dispatcher, (403, "forbidden")),
    ]:
        assert (await client.handshake(PATH, token=token, headers=headers)).refusal == refusal


async def test_cookie_of_a_foreign_page_is_refused(client, tenant):
    tenant.user("drew", "dispatcher")
    login = await client.login(tenant.name, "drew", PASSWORD)
    cookie = {"Cookie": f"fleetwire_session={login.json['token']}"}
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        for path in ("/ws", "/ws/dispatch"):
            assert (await client.handshake(path, headers=cookie | origin)).refusal == (403, "origin_forbidden")
    async with client.socket("/ws/dispatch", headers=cookie | {"Origin": client.url}) as feed:
        assert (await feed.receive_type("snapshot"))["positions"] == []


async def test_sender_that_leaves_in_mid_air_loses_nothing_and_harms_nobody(client, tenant, token):
    fixes = track(200)
    async with client.socket(PATH, token=token) as leaving:
        for number in range(20):
            await leaving.send(batch(number, fixes[number * 10 : number * 10 + 10]))
        first = await leaving.receive_type("receipt")
        leaving.raw._response.connection.transport.abort()
    assert read_receipt(first)[0] == 10
    async with client.socket(PATH, token=token) as socket:
        totals = []
        for number in range(20):
            await socket.send(batch(number, fixes[number * 10 : number * 10 + 10]))
            totals.append(read_receipt(await socket.receive_type("receipt"))[:2])
    assert all(stored + duplicate == 10 for stored, duplicate in totals)
    assert await stored_times(tenant.dsn, tenant.name) == [each["timestamp"] for each in fixes]


async def test_polite_goodbye_is_answered_in_kind(client, token):
    async with client.socket(PATH, token=token) as socket:
        await socket.raw.close(code=aiohttp.WSCloseCode.GOING_AWAY)
        assert socket.raw.close_code in {1000, 1001}
    await asyncio.sleep(0)
