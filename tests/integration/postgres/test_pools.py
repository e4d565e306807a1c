"""The pool of reads: it grows and shrinks within its bounds, and hands out no connection that died meanwhile."""

import asyncio
import time

import pytest

from harness.database import rows
from harness.fixes import track
from harness.fixtures import running_server

MOST = 12
LEAST = 2
WAIT_SECS = 30.0
_IDLE_READERS = "application_name LIKE 'fleetwire%' AND state = 'idle' AND query NOT LIKE 'LISTEN%'"


@pytest.fixture(scope="module")
def server(module_database):
    settings = {
        "FLEETWIRE_APP_CONNECTIONS": str(MOST),
        "FLEETWIRE_IDLE_CONNECTION_SECS": "1",
        "FLEETWIRE_SLOW_QUERY_SECS": "0",
        # More readers than the bounds of downloads allow.
        "FLEETWIRE_USER_STREAMS": "64",
        "FLEETWIRE_TENANT_STREAMS": "64",
        # None of it looks at the database meanwhile.
        "FLEETWIRE_UPKEEP_SECS": "0",
    }
    yield from running_server(module_database, settings)


async def pool(client, admin):
    found = (await client.get("/api/db/stats", token=admin)).json["pools"]
    return next(each for each in found if each["pool"] == "app")


async def test_it_grows_to_its_bound_and_gives_back_what_lies_idle(client, tenant):
    admin = await tenant.issue_async("user", "ada", "admin")
    await client.send({"device": "van", "fixes": track(5_000)}, token=tenant.ingest)
    assert (await pool(client, admin))["max"] == MOST

    async def read():
        answer = await client.get("/api/devices/van/track", token=tenant.dispatcher)
        assert answer.status == 200
        return await pool(client, admin)

    seen = await asyncio.gather(*(read() for _ in range(40)))
    assert LEAST < max(each["open"] for each in seen) <= MOST
    deadline = time.monotonic() + WAIT_SECS
    while (await pool(client, admin))["open"] > LEAST:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    assert (await pool(client, admin))["min"] == LEAST


async def test_a_connection_that_died_is_not_handed_out(client, tenant):
    await client.send({"device": "van", "fixes": track(5)}, token=tenant.ingest)
    ended = await rows(
        tenant.dsn, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {_IDLE_READERS}"
    )
    assert len(ended) >= LEAST
    answers = await asyncio.gather(
        *(client.get("/api/devices/van/track", token=tenant.dispatcher) for _ in range(2 * MOST))
    )
    assert {answer.status for answer in answers} == {200}
