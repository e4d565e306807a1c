"""Limits and kept answers that are shared through Sentinels and through a Cluster, also after a failover."""

import asyncio
import itertools
import time
from contextlib import ExitStack

import pytest

from harness.client import Client
from harness.fixes import fix
from harness.process import serving
from harness.valkey import valkey_cluster, valkey_sentinel

WAIT_SECS = 60.0
SETTINGS = {
    "FLEETWIRE_LIMITS": "anonymous=20/3600",
    "FLEETWIRE_LIMIT_REPLY_SECS": "3",
    "FLEETWIRE_TRUSTED_PROXIES": "127.0.0.1",
    "FLEETWIRE_REDIS_PREFIX": "depot",
}
_addresses = itertools.count(1)


@pytest.fixture(scope="module", params=["sentinel", "cluster"])
def redis(request):
    """The address, the servers that have data, and what to do to lose the one that is used."""
    if request.param == "cluster":
        with valkey_cluster() as nodes:
            yield f"redis+cluster://127.0.0.1:{nodes[1].port}", nodes, None
    else:
        with valkey_sentinel() as (master, replica, sentinel):
            yield f"redis+sentinel://127.0.0.1:{sentinel.port}/fleet", [master, replica], master.kill


@pytest.fixture
def clients(module_database, redis, session):
    with ExitStack() as stack:
        settings = {**SETTINGS, "FLEETWIRE_REDIS_URL": redis[0]}
        servers = [stack.enter_context(serving("--database-url", module_database, settings=settings)) for _ in range(2)]
        yield [Client(server.url, session) for server in servers]
        for server in servers:
            assert server.stop() == 0
            assert server.faults() == []


async def counts(clients):
    """How often a new stranger is let through and refused, who asks both servers in turn, 60 times at once."""
    headers = {"X-Forwarded-For": f"198.51.100.{next(_addresses)}"}
    asked = [clients[number % 2].request("GET", "/api/live", headers=headers) for number in range(60)]
    found = [answer.status for answer in await asyncio.gather(*asked)]
    return found.count(401), found.count(429)


async def until(holds, what):
    deadline = time.monotonic() + WAIT_SECS
    while not await holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.3)


async def is_shared(clients):
    # Each address is a new one; a server that has not found Redis yet lets 20 through by itself.
    return await counts(clients) == (20, 40)


async def is_found_by_the_other(clients, tenant):
    """Whether an answer that one has made is found by the other; the limit gives each try a key of its own."""
    limit = str(next(_addresses))
    await clients[0].get("/api/devices", token=tenant.dispatcher, limit=limit)
    answer = await clients[1].get("/api/devices", token=tenant.dispatcher, limit=limit)
    return answer.headers["X-Cache"] == "HIT"


@pytest.mark.timeout(240)
async def test_two_servers_count_and_keep_together(clients, redis, tenant):
    _, servers, lose = redis
    await clients[0].send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    await until(lambda: is_shared(clients), "limits are shared")
    await until(lambda: is_found_by_the_other(clients, tenant), "answers are shared")
    keys = [key for server in servers for key in server.command("KEYS", "*")]
    assert keys
    assert all(key.startswith(("depot:{limit}:", "depot:{cache}:")) for key in keys), keys
    if lose is None:
        return
    lose()
    await until(lambda: is_shared(clients), "limits are shared through the new master")
    await until(lambda: is_found_by_the_other(clients, tenant), "answers are shared through the new master")
