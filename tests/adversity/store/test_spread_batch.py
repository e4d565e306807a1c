"""A batch with a fix a day since 2000: it needs hundreds of partitions, and costs nobody else more than a moment."""

import asyncio
import time

import pytest

from harness.database import rows, stored_times
from harness.fixes import fix, now_millis
from harness.process import serving

DAY_MILLIS = 86_400_000
FIRST_NOON_MILLIS = 946_684_800_000 + DAY_MILLIS // 2
PARTITIONS = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'track_segment'::regclass"


@pytest.fixture(scope="module")
def server(module_database):
    settings = {"FLEETWIRE_LIMITS": "fixes=off,ingest=off,ingest_tenant=off", "FLEETWIRE_UPKEEP_SECS": "0"}
    with serving("--database-url", module_database, settings=settings) as running:
        yield running
        assert running.stop() == 0
        assert running.faults() == []


async def test_a_fix_a_day_since_2000_is_stored_in_some_tries_and_others_do_not_wait(server, client, tenant):
    """Each refusal says to come again, and each try gets further: no try makes more than 64 partitions."""
    times = list(range(FIRST_NOON_MILLIS, now_millis() - DAY_MILLIS, DAY_MILLIS))
    batch = {"device": "archive", "fixes": [fix(millis) for millis in times]}
    waited_secs, stopping = [], asyncio.Event()

    async def send_others():
        while not stopping.is_set():
            began = time.monotonic()
            answer = await client.send({"device": "other", "fixes": [fix()]}, token=tenant.ingest)
            assert answer.receipt[:2] == (1, 0)
            waited_secs.append(time.monotonic() - began)
            await asyncio.sleep(0.01)

    others = asyncio.ensure_future(send_others())
    refusals, made = [], [(await rows(tenant.dsn, PARTITIONS))[0][0]]
    try:
        while (answer := await client.send(batch, token=tenant.ingest)).status != 200:
            refusals.append(answer.refusal)
            assert answer.headers["Retry-After"] == "1"
            made.append((await rows(tenant.dsn, PARTITIONS))[0][0])
            assert 0 < made[-1] - made[-2] <= 64
    finally:
        stopping.set()
        await others
    assert answer.receipt == (len(times), 0, {})
    assert set(refusals) == {(503, "timestamp_spread")}
    assert len(refusals) >= 10
    assert await stored_times(tenant.dsn, tenant.name, "archive") == times
    again = await client.send(batch, token=tenant.ingest)
    assert again.receipt == (0, len(times), {})
    assert max(waited_secs) < 0.5, max(waited_secs)
