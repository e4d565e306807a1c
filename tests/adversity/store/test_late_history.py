"""Late fixes over a long history: a device's years of fixes are looked up where its batch has fixes, and nowhere else.

The history is made by SQL: merged rows of an hour at a fix a second. Two years of it here, ten in the long test.
"""

import asyncio
import os
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fleetwire.postgres import statements
from harness.database import rows, run
from harness.fixes import fix
from harness.history import store_every_second
from harness.process import serving
from harness.tenants import Tenant

BATCH_FIXES = 10_000
DAY_MILLIS = 86_400_000
WEEK_ROLLOVER_MILLIS = 1_024 * 7 * DAY_MILLIS
DEVICE = "old"
OTHERS_SECS = 0.5
TRIES = 5
YEARS = pytest.mark.parametrize(
    "history",
    [
        pytest.param(2, id="two_years"),
        pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(300)], id="ten_years"),
    ],
    indirect=True,
)


@pytest.fixture(scope="module")
def history(module_database, request):
    """A company with a device that sent a fix a second for years; first and last time of it."""
    years = getattr(request, "param", 2)
    company = Tenant(module_database)
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(days=365 * years)
    run(_fill(company, start, end))
    return company, int(start.timestamp() * 1000), int(end.timestamp() * 1000) - 1000


async def _fill(company, start, end):
    owner = await asyncpg.connect(company.dsn)
    try:
        tenant_id = await owner.fetchval("SELECT tenant_id FROM tenant WHERE name = $1", company.name)
        (device,) = await owner.fetch(statements.load("store/device")["create_devices"], tenant_id, [DEVICE])
        await store_every_second(owner, tenant_id, device["device_id"], start, end)
    finally:
        await owner.close()


@pytest.fixture(scope="module")
def server(module_database, history):
    settings = {"FLEETWIRE_LIMITS": "fixes=off,ingest=off,ingest_tenant=off", "FLEETWIRE_UPKEEP_SECS": "0"}
    with serving("--database-url", module_database, settings=settings) as running:
        yield running
        assert running.stop() == 0
        assert running.faults() == []


@asynccontextmanager
async def _others(client, token):
    """Another device of the company, that sends all the time; how long it waited for each receipt, in seconds."""
    waited_secs, stopping = [], asyncio.Event()

    async def send():
        while not stopping.is_set():
            began = time.monotonic()
            answer = await client.send({"device": "other", "fixes": [fix()]}, token=token)
            assert answer.receipt[:2] == (1, 0), answer.body
            waited_secs.append(time.monotonic() - began)
            await asyncio.sleep(0.01)

    sending = asyncio.ensure_future(send())
    await asyncio.sleep(0.2)
    yield waited_secs
    stopping.set()
    await sending


async def _count_between(tenant, from_millis, to_millis):
    (row,) = await rows(
        tenant.dsn,
        "SELECT coalesce(sum(fix_count), 0)::bigint AS fixes FROM track_segment AS s JOIN tenant USING (tenant_id) "
        "JOIN device USING (tenant_id, device_id) WHERE tenant.name = $1 AND device.name = $2 AND first_at BETWEEN "
        "to_timestamp($3::bigint / 1000.0) AND to_timestamp($4::bigint / 1000.0)",
        tenant.name,
        DEVICE,
        from_millis,
        to_millis,
    )
    return row["fixes"]


@YEARS
async def test_two_late_fixes_far_apart_do_not_read_what_lies_between_them(server, client, history):
    """A receiver whose week number rolled over, beside a fix that was sent before."""
    tenant, _, last_millis = history
    async with _others(client, tenant.ingest) as waited_secs:
        began = time.monotonic()
        fixes = [fix(last_millis - WEEK_ROLLOVER_MILLIS), fix(last_millis)]
        answer = await client.send({"device": DEVICE, "fixes": fixes}, token=tenant.ingest)
        taken_secs = time.monotonic() - began
    assert answer.receipt == (1, 1, {})
    assert taken_secs < 1
    assert max(waited_secs) < OTHERS_SECS


@YEARS
async def test_a_batch_over_the_whole_history_takes_less_than_a_second_and_others_do_not_wait(server, client, history):
    """Half of its fixes are stored already, the others lie between two stored ones."""
    tenant, first_millis, last_millis = history
    span_secs = (last_millis - first_millis) // 1000
    times = [first_millis + span_secs * place // BATCH_FIXES * 1000 + place % 2 * 500 for place in range(BATCH_FIXES)]
    batch = {"device": DEVICE, "fixes": [fix(millis) for millis in times]}
    # A second is meant for a machine with nothing else to do; on one that is shared it takes as many times longer.
    limit_secs = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    taken_secs = []
    async with _others(client, tenant.ingest) as waited_secs:
        while not taken_secs or (taken_secs[-1] >= limit_secs and len(taken_secs) < TRIES):
            began = time.monotonic()
            answer = await client.send(batch, token=tenant.ingest)
            taken_secs.append(time.monotonic() - began)
            new = BATCH_FIXES // 2 if len(taken_secs) == 1 else 0
            assert answer.receipt == (new, BATCH_FIXES - new, {})
        again = await client.send(batch, token=tenant.ingest)
        assert again.receipt == (0, BATCH_FIXES, {})
    assert await _count_between(tenant, first_millis, last_millis) == BATCH_FIXES // 2
    assert taken_secs[-1] < limit_secs, taken_secs
    assert max(waited_secs) < OTHERS_SECS
