"""Two servers that share their limits through Valkey, and what they do without it."""

import asyncio
import contextlib
import itertools
import signal
import time

import pytest

from harness.client import Client
from harness.fixes import fix
from harness.process import free_port, serving
from harness.tenants import Tenant
from harness.valkey import valkey

WAIT_SECS = 30
LIMITS = (
    "anonymous=20/3600, credential=20/3600, login_address=1000/60, "
    "api@shared=20/3600, fixes@shared=100/3600, api@outage=10/1:1000"
)
_addresses = itertools.count(1)


@pytest.fixture(scope="module")
def cache():
    with valkey() as running:
        yield running


@pytest.fixture(scope="module")
def servers(module_database, cache):
    settings = {"FLEETWIRE_LIMITS": LIMITS, "FLEETWIRE_LIMIT_REPLY_SECS": "3", "FLEETWIRE_TRUSTED_PROXIES": "127.0.0.1"}
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(serving("--database-url", module_database, "--redis-url", cache.url, settings=settings))
            for _ in range(2)
        ]


@pytest.fixture
def stranger():
    """The headers of a client that no other test has."""
    return {"X-Forwarded-For": f"198.51.100.{next(_addresses)}"}


@pytest.fixture
def clients(servers, session):
    return [Client(server.url, session) for server in servers]


async def statuses(clients, count, **sent):
    """How often which status came, asking the servers in turn, many at once."""
    asked = [clients[number % len(clients)].request(**sent) for number in range(count)]
    found = [answer.status for answer in await asyncio.gather(*asked)]
    return {status: found.count(status) for status in set(found)}


async def figure(client, token, name):
    text = (await client.get("/metrics", token=token)).body.decode()
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + " "))


async def until(holds, what):
    deadline = time.monotonic() + WAIT_SECS
    while not await holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def test_what_is_asked_is_shared_exactly(clients, cache, stranger):
    assert await statuses(clients, 60, method="GET", path="/api/live", headers=stranger) == {401: 20, 429: 40}
    assert await statuses(clients, 60, method="POST", path="/api/session/renew", headers=stranger) == {401: 20, 429: 40}
    keys = cache.command("KEYS", "fleetwire:{limit}:*")
    assert any(":anonymous:" in key for key in keys)
    assert all(cache.command("TTL", key) > 0 for key in keys), "every key goes by itself"


async def test_a_refused_request_does_not_ask(clients, cache, stranger):
    await statuses(clients, 60, method="GET", path="/api/live", headers=stranger)
    before = cache.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"]
    assert await statuses(clients, 40, method="GET", path="/api/live", headers=stranger) == {429: 40}
    assert cache.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"] == before


async def test_what_is_reported_reaches_the_other_server(clients, module_database):
    tenant = await asyncio.to_thread(Tenant, module_database, "shared")
    first, second = clients
    found = await statuses([first], 30, method="GET", path="/api/session", token=tenant.dispatcher)
    assert found == {200: 20, 429: 10}

    async def other_refuses():
        return (await second.get("/api/session", token=tenant.dispatcher)).status == 429

    await until(other_refuses, "the second server hears of what the first let through")
    batch = {"device": "van", "fixes": [fix() for _ in range(100)]}
    assert (await first.send(batch, token=tenant.ingest)).status == 200

    async def other_refuses_fixes():
        return (await second.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)).status == 429

    await until(other_refuses_fixes, "and of the fixes of a device")
    assert (await second.send({"device": "bus", "fixes": [fix()]}, token=tenant.ingest)).status == 200


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_without_valkey_each_counts_for_itself_until_it_is_back(clients, cache, module_database, stranger, fault):
    tenant = await asyncio.to_thread(Tenant, module_database, "outage")
    first, second = clients

    async def shared(client):
        await client.request("POST", "/api/logout", headers={"X-Forwarded-For": f"203.0.113.{next(_addresses) % 250}"})
        return await figure(client, tenant.admin, "fleetwire_limits_shared_up") == 1.0

    assert await shared(first)
    cache.kill() if fault == "killed" else cache.send(signal.SIGSTOP)
    started = time.monotonic()
    found = await statuses([first], 60, method="GET", path="/api/live", headers=stranger)
    assert set(found) == {401, 429}
    assert found[401] == 20
    assert time.monotonic() - started < 10, "nobody waits for Valkey"
    assert (await statuses([second], 60, method="GET", path="/api/live", headers=stranger))[401] == 20
    assert await figure(first, tenant.admin, "fleetwire_limits_shared_up") == 0.0
    assert await figure(first, tenant.admin, "fleetwire_limits_shared_failures_total") >= 1
    assert (await first.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)).receipt == (1, 0, {})
    cache.start() if fault == "killed" else cache.send(signal.SIGCONT)
    for client in clients:
        await until(lambda client=client: shared(client), "limits are shared again")
    found = await statuses(clients, 60, method="POST", path="/api/session/renew", headers=stranger)
    assert found == {401: 20, 429: 40}


async def test_a_server_starts_without_valkey(module_database, session):
    nowhere = f"redis://127.0.0.1:{free_port()}"
    with serving(
        "--database-url", module_database, "--redis-url", nowhere, settings={"FLEETWIRE_LIMITS": LIMITS}
    ) as server:
        client = Client(server.url, session)
        assert await statuses([client], 60, method="GET", path="/api/live") == {401: 20, 429: 40}
        assert server.faults() == []
