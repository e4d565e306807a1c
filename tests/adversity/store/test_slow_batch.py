"""A batch that the database takes too long to store: the server finds it in its group, and stores the others.

A trigger stands for whatever makes a statement slow: it sleeps where a row of one device is appended. The server has
the settings that it has by itself.
"""

import asyncio
import time

import pytest

from harness.database import execute, rows
from harness.fixes import fix, now_millis
from harness.ledger import Ledger
from harness.process import serving
from harness.senders import sending

GIVE_UP_SECS = 10  # as it is by itself
DEVICES = 60


@pytest.fixture(scope="module")
def server(module_database):
    with serving("--database-url", module_database, settings={"FLEETWIRE_UPKEEP_SECS": "0"}) as running:
        (worker,) = running.workers()
        yield running
        assert running.workers() == [worker]
        assert running.stop() == 0
        assert running.faults() == []


async def _sleep_at(tenant, device):
    (row,) = await rows(
        tenant.dsn,
        "SELECT device_id FROM device JOIN tenant USING (tenant_id) WHERE tenant.name = $1 AND device.name = $2",
        tenant.name,
        device,
    )
    await execute(
        tenant.dsn,
        f"""
        CREATE FUNCTION sleep_long() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.device_id = {row["device_id"]} THEN
                PERFORM pg_sleep(600);
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER sleep_long BEFORE INSERT ON track_segment FOR EACH ROW EXECUTE FUNCTION sleep_long();
        """,
    )


async def _statements_that_sleep(dsn):
    statement = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
    return (await rows(dsn, statement))[0][0]


async def test_a_batch_that_takes_too_long_is_refused_alone(server, client, tenant):
    """All come at once, so that they are of one group or two; each but one gets its receipt before it would give up."""
    devices = [f"device-{number}" for number in range(DEVICES)]
    ledger = Ledger()
    start_millis = now_millis() - 60_000
    for device in devices:
        await ledger.send(client, tenant.ingest, device, [fix(start_millis)])
    await _sleep_at(tenant, "device-7")

    async def send(device):
        began = time.monotonic()
        answer = await ledger.send(client, tenant.ingest, device, [fix(start_millis + 1_000)])
        return answer, time.monotonic() - began

    try:
        async with sending([client], tenant.ingest, ledger) as senders:
            sent = {device: asyncio.ensure_future(send(device)) for device in devices}
            outcomes = dict(zip(sent, await asyncio.gather(*sent.values()), strict=True))
            refused, refused_secs = outcomes.pop("device-7")
            assert refused.refusal == (503, "store_timeout")
            assert int(refused.headers["Retry-After"]) > 0
            assert refused_secs < 2 * GIVE_UP_SECS + 2
            assert [answer.receipt for answer, _ in outcomes.values()] == [(1, 0, {})] * (DEVICES - 1)
            assert max(secs for _, secs in outcomes.values()) < GIVE_UP_SECS
            await senders.acknowledged(3)
        assert await _statements_that_sleep(tenant.dsn) == 0, "the server ended what it gave up"
        assert ledger.refusals.keys() <= {(503, "store_timeout")}
    finally:
        await execute(tenant.dsn, "DROP FUNCTION sleep_long CASCADE")
    answer = await ledger.send(client, tenant.ingest, "device-7", [fix(start_millis + 1_000)])
    assert answer.receipt == (1, 0, {})
    await ledger.verify(tenant.dsn, tenant.name, commits_went_unheard=True)


async def test_a_device_whose_batches_take_too_long_does_not_hold_up_the_others_each_time(server, client, tenant):
    """After the first one it is known, and its next batches are tried apart from the start."""
    ledger = Ledger()
    await ledger.send(client, tenant.ingest, "slow", [fix()])
    await _sleep_at(tenant, "slow")
    try:
        answer = await ledger.send(client, tenant.ingest, "slow", [fix()])
        assert answer.refusal == (503, "store_timeout")
        async with sending([client], tenant.ingest, ledger):
            again = asyncio.ensure_future(client.send({"device": "slow", "fixes": [fix()]}, token=tenant.ingest))
            slowest_secs = 0.0
            for _ in range(20):
                began = time.monotonic()
                other = await client.send({"device": "other", "fixes": [fix()]}, token=tenant.ingest)
                assert other.receipt[:2] == (1, 0)
                slowest_secs = max(slowest_secs, time.monotonic() - began)
                await asyncio.sleep(0.05)
            assert slowest_secs < 1
            assert (await again).refusal == (503, "store_timeout")
    finally:
        await execute(tenant.dsn, "DROP FUNCTION sleep_long CASCADE")
