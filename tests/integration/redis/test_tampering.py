"""Who can write to Redis, and has no key of the database, decides nothing: no page, no position, no limit.

Two real servers share one real Valkey; the attacker is a client of it.
"""

import asyncio
import struct
import time

import msgspec
import pytest
import redis

from fleetwire.cache.redis_tier import SIGNATURE_BYTES
from fleetwire.live.relay.message import MessageKind
from harness.client import Client
from harness.database import execute
from harness.fixes import fix
from harness.process import run, serving
from harness.valkey import valkey

DEVICES = "/api/devices"
LIVE = "/api/live"
RELAY = "fleetwire:relay"
PAGE = b"<script>alert(1)</script>"
HEADERS = [
    (b"content-type", b"text/html"),
    (b"set-cookie", b"fleetwire_session=evil"),
    (b"access-control-allow-origin", b"https://evil.example"),
]


@pytest.fixture(scope="module")
def store():
    with valkey() as running:
        yield running


@pytest.fixture(scope="module")
def servers(module_database, store):
    settings = {"FLEETWIRE_REDIS_URL": store.url, "FLEETWIRE_LIMITS": "login=10/60"}
    with (
        serving("--database-url", module_database, settings=settings) as first,
        serving("--database-url", module_database, settings=settings) as second,
    ):
        yield first, second


@pytest.fixture
def pair(servers, session):
    return [Client(server.url, session) for server in servers]


@pytest.fixture
def attacker(store):
    with redis.Redis(port=store.port) as client:
        yield client


def cached_names(attacker):
    return [name for name in attacker.keys("*") if b":{cache}:e:" in name]


async def metric(client, token, line):
    text = (await client.get("/metrics", token=token)).body.decode()
    return sum(float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line))


@pytest.mark.parametrize("forged", ["unsigned", "signature of another place", "changed body", "nonsense"])
async def test_an_answer_that_no_worker_signed_is_never_served(pair, tenant, attacker, forged):
    one, other = pair
    await one.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    await asyncio.sleep(0.5)
    attacker.flushall()
    made = await one.get(DEVICES, token=tenant.dispatcher)
    assert made.headers["X-Cache"] == "MISS"
    [name] = cached_names(attacker)
    stored = attacker.get(name)
    signature, packed = stored[:SIGNATURE_BYTES], stored[SIGNATURE_BYTES:]
    versions, made_at_millis, media_type, body = msgspec.msgpack.decode(packed)
    if forged == "unsigned":
        value = msgspec.msgpack.encode((versions, made_at_millis, (200, HEADERS, PAGE)))
    elif forged == "signature of another place":
        await one.get(DEVICES, token=tenant.dispatcher, limit="7")
        [elsewhere] = set(cached_names(attacker)) - {name}
        value = attacker.get(elsewhere)
    elif forged == "changed body":
        value = signature + msgspec.msgpack.encode((versions, made_at_millis, media_type, body.replace(b"van", b"foo")))
    else:
        value = b"\xff" * 100
    attacker.set(name, value)
    answer = await other.get(DEVICES, token=tenant.dispatcher)
    assert (answer.status, answer.headers["X-Cache"], answer.headers["Content-Type"]) == (
        200, "MISS", "application/json",
    )  # fmt: skip
    assert [device["name"] for device in answer.json["devices"]] == ["van"]
    assert "set-cookie" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    assert await metric(other, tenant.admin, 'fleetwire_cache_events_total{event="second_level_refused"}') >= 1


async def test_what_is_shared_holds_no_header(pair, tenant, attacker):
    one, _ = pair
    attacker.flushall()
    await one.get(DEVICES, token=tenant.dispatcher, limit="3")
    [name] = cached_names(attacker)
    fields = msgspec.msgpack.decode(attacker.get(name)[SIGNATURE_BYTES:])
    assert [type(field) for field in fields] == [list, int, str, bytes]
    assert fields[2] == "application/json"


async def shown(client, tenant):
    features = (await client.get(LIVE, token=tenant.dispatcher)).json["features"]
    return {each["properties"]["device"]: each["geometry"]["coordinates"][:2] for each in features}


async def test_a_message_that_no_worker_signed_moves_nothing_and_revokes_nothing(pair, tenant, attacker):
    one, other = pair
    place = fix(latitude=48.0, longitude=11.0)
    await one.send({"device": "van", "fixes": [place]}, token=tenant.ingest)
    await asyncio.sleep(1)
    assert await shown(other, tenant) == {"van": [11.0, 48.0]}
    before = await metric(other, tenant.admin, "fleetwire_relay_refused_messages_total")
    now_millis = int(time.time() * 1000)
    entry = struct.pack(">BBq", 1, 3, 1) + struct.pack(">H", 4) + b"evil"
    entry += struct.pack(">qiiihhhh", now_millis, 2**31 - 1, 2**31 - 1, 0, 0, 0, 0, 0)
    for tenant_id in range(1, 50):
        header = struct.pack(">BB8sIQi", 1, MessageKind.MOVED, b"attacker", 1, tenant_id, tenant_id)
        attacker.publish(RELAY, header + entry)
        header = struct.pack(">BB8sIQiQ", 2, MessageKind.MOVED, b"attacker", 1, tenant_id, tenant_id, now_millis)
        attacker.publish(RELAY, header + bytes(16) + entry)
    header = struct.pack(">BB8sIQiQ", 2, MessageKind.REVOKED, b"attacker", 1, 60, 0, now_millis)
    attacker.publish(RELAY, header + bytes(16) + b"forget")
    attacker.publish(RELAY, b"")
    await asyncio.sleep(1)
    assert await shown(other, tenant) == {"van": [11.0, 48.0]}
    assert await metric(other, tenant.admin, "fleetwire_relay_refused_messages_total") - before == 100
    # The workers go on to believe each other.
    await one.send({"device": "van", "fixes": [fix(latitude=49.0, longitude=12.0)]}, token=tenant.ingest)
    deadline = time.monotonic() + 10
    while (await shown(other, tenant))["van"] != [12.0, 49.0]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_message_that_is_put_back_is_refused(pair, tenant, attacker):
    one, other = pair
    listening = attacker.pubsub()
    listening.subscribe(RELAY)
    order = "/api/orders/o1/devices"
    await one.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)

    async def put(devices):
        body = msgspec.json.encode({"devices": devices})
        answer = await one.request("PUT", order, token=tenant.dispatcher, body=body)
        assert answer.status < 300, answer.body

    await put(["van"])
    await asyncio.sleep(0.5)
    received = []
    while (message := listening.get_message(timeout=0.2)) is not None:
        if message["type"] == "message" and message["data"][1] == MessageKind.ORDER:
            received.append(message["data"])
    assert received
    before = await metric(other, tenant.admin, "fleetwire_relay_refused_messages_total")
    for message in received:
        attacker.publish(RELAY, message)
    await asyncio.sleep(0.5)
    assert await metric(other, tenant.admin, "fleetwire_relay_refused_messages_total") - before == len(received)


async def test_emptying_redis_gives_no_more_logins_than_one_worker_does(pair, tenant, attacker):
    one, _ = pair
    tenant.user("anna", "dispatcher")
    answers = []
    for _ in range(16):
        answers.append((await one.login(tenant.name, "anna", "a wrong password")).status)
        attacker.flushall()
    assert answers[-1] == 429
    assert answers.count(401) <= 11


async def test_a_bucket_that_somebody_drained_for_years_refuses_for_its_own_time_at_most(pair, tenant, attacker):
    one, other = pair
    tenant.user("bert", "dispatcher")
    await one.login(tenant.name, "bert", "a wrong password")
    [*names] = [name for name in attacker.keys("*:{limit}:*") if b"bert" in name]
    assert names
    for name in names:
        attacker.set(name, b"9007199254740000")
    answer = await other.login(tenant.name, "bert", "a wrong password")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) <= 61


async def test_rotated_keys_are_used_by_running_servers(pair, tenant, module_database, attacker):
    one, other = pair
    done = await asyncio.to_thread(run, "keys", "rotate-redis", "--drop-old", "--database-url", module_database)
    assert done.returncode == 0, done.stderr
    await asyncio.sleep(1.5)
    attacker.flushall()
    made = await one.get(DEVICES, token=tenant.dispatcher, limit="5")
    found = await other.get(DEVICES, token=tenant.dispatcher, limit="5")
    assert (made.headers["X-Cache"], found.headers["X-Cache"]) == ("MISS", "HIT")
    before = await metric(other, tenant.admin, "fleetwire_relay_refused_messages_total")
    await one.send({"device": "lorry", "fixes": [fix()]}, token=tenant.ingest)
    await asyncio.sleep(1)
    assert "lorry" in await shown(other, tenant)
    assert await metric(other, tenant.admin, "fleetwire_relay_refused_messages_total") == before
    with pytest.raises(Exception, match="permission denied"):
        await execute(module_database, "SET ROLE fleetwire_ingest; SELECT * FROM redis_keys()")
