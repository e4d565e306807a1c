"""The second level on a real Valkey: two servers share what one has made, and forget it together."""

import asyncio
import time

import pytest

from harness.client import Client
from harness.fixes import fix
from harness.process import serving
from harness.valkey import Valkey, valkey

DEVICES = "/api/devices"
WAIT_SECS = 40.0


@pytest.fixture(scope="module")
def store():
    with valkey() as running:
        yield running


@pytest.fixture
def pair(module_database, store, session):
    """Clients of two servers on one database and one Valkey."""
    settings = {"FLEETWIRE_REDIS_URL": store.url}
    with (
        serving("--database-url", module_database, settings=settings) as first,
        serving("--database-url", module_database, settings=settings) as second,
    ):
        yield Client(first.url, session), Client(second.url, session)
        for server in (first, second):
            assert server.stop() == 0
            assert server.faults() == []


async def listed(client, tenant, **params):
    answer = await client.get(DEVICES, token=tenant.dispatcher, **params)
    assert answer.status == 200, answer.body
    return answer, [device["name"] for device in answer.json["devices"]]


async def figures(client, tenant, token):
    return (await client.get("/api/cache/stats", token=token)).json


GONE = -2  # Redis, of a key that does not exist


async def test_two_servers_share_answers_and_forget_them_together(pair, tenant, rival, store: Valkey):
    one, other = pair
    admin = await tenant.issue_async("user", "ada", "admin")
    await one.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    await one.send({"device": "rover", "fixes": [fix()]}, token=rival.ingest)
    await asyncio.sleep(0.5)  # The other server hears of the new device.

    made, _ = await listed(one, tenant)
    found, names = await listed(other, tenant)
    assert (made.headers["X-Cache"], found.headers["X-Cache"], names) == ("MISS", "HIT", ["van"])
    assert found.headers["ETag"] == made.headers["ETag"]
    report = await figures(other, tenant, admin)
    assert (report["handler_calls"], report["second_level"]["found"]) == (0, 1)
    foreign, names = await listed(other, rival)
    assert (foreign.headers["X-Cache"], names) == ("MISS", ["rover"])

    for number in range(3):
        name = f"new-{number}"
        await one.send({"device": name, "fixes": [fix()]}, token=tenant.ingest)
        assert name in (await listed(one, tenant))[1]
        deadline = time.monotonic() + 2.0  # Sooner than the answer gets old by itself.
        while name not in (await listed(other, tenant))[1]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    keys = store.command("KEYS", "*")
    assert any(":{cache}:e:" in str(key) for key in keys)
    for key in keys:
        ttl_millis = int(store.command("PTTL", key))
        assert ttl_millis == GONE or 0 < ttl_millis <= 2 * 3_600_000  # A full bucket may expire just before.
        assert "van" not in str(key)


async def test_without_valkey_the_first_level_goes_on(pair, tenant, store: Valkey):
    one, other = pair
    admin = await tenant.issue_async("user", "ada", "admin")
    await one.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    await listed(one, tenant)
    store.kill()
    try:
        for number in range(3):
            await one.send({"device": f"away-{number}", "fixes": [fix()]}, token=tenant.ingest)
            answer, names = await listed(one, tenant)
            assert (answer.headers["X-Cache"], f"away-{number}" in names) == ("MISS", True)
            assert (await listed(one, tenant))[0].headers["X-Cache"] == "HIT"
        report = await figures(one, tenant, admin)
        assert report["second_level"]["failures"] > 0
        assert report["second_level"]["untold_writes"] > 0
    finally:
        store.start()
    deadline = time.monotonic() + WAIT_SECS
    while (await figures(one, tenant, admin))["second_level"]["untold_writes"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    # What is made from now on is shared again; the limit gives each round a key of its own.
    for limit in range(1, 400):
        await listed(one, tenant, limit=str(limit))
        if (await listed(other, tenant, limit=str(limit)))[0].headers["X-Cache"] == "HIT":
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert (await figures(other, tenant, admin))["second_level"]["found"] > 0
