"""A spool beside locked devices and errors of single batches: the others are stored, nothing is dropped."""

import asyncio

import pytest

from harness.client import Client
from harness.database import execute, stored_times
from harness.fixes import fix, now_millis, track
from harness.locks import locked
from harness.own_postgres import own_postgres
from harness.process import run, serving
from harness.spool_faults import (
    files,
    health_warnings,
    late_rows,
    make_faulty,
    queue,
    raising,
    read_only,
    send,
    spool_command,
    until_drained,
    until_stored,
    writable,
)
from harness.tenants import Tenant

SETTINGS = {"FLEETWIRE_SPOOL_AFTER_SECS": "1", "FLEETWIRE_UPKEEP_SECS": "0"}


@pytest.fixture(scope="module")
def postgres():
    with own_postgres() as server:
        asyncio.run(make_faulty(server.dsn))
        yield server


@pytest.fixture(scope="module")
def module_database(postgres):
    return postgres.dsn


@pytest.fixture
def spool(scratch_dir):
    return scratch_dir / "spool"


@pytest.fixture
def server(module_database, spool):
    with serving("--database-url", module_database, "--spool", spool, settings=SETTINGS) as running:
        (worker,) = running.workers()
        yield running
        assert running.workers() == [worker]
        assert running.stop() == 0


async def test_one_locked_device_goes_to_the_spool_and_no_other(client, tenant, spool):
    fixes = track(30)
    for device in ("held", "free"):
        assert (await send(client, tenant, device, fixes[:5])).status == 200
    async with locked(tenant, "held"):
        await queue(client, tenant, "held", fixes[5:10])
        # The database stores, so there is no outage: what others send is stored at once and acknowledged as that.
        for start in range(5, 25, 5):
            assert (await send(client, tenant, "free", fixes[start : start + 5])).receipt == (5, 0, {})
        await queue(client, tenant, "held", fixes[10:30])
        assert (await send(client, tenant, "free", fixes[25:])).receipt == (5, 0, {})
        assert (await client.get("/readyz")).status == 200
        assert "does not store" not in await health_warnings(client)
    await until_stored(tenant, "held", fixes)
    await until_stored(tenant, "free", fixes)
    await until_drained(spool)
    assert files(spool, "refused") == []


async def test_the_drain_goes_around_a_locked_device_and_stores_it_when_it_is_free(client, tenant, spool):
    fixes, others = track(40), [f"free-{number}" for number in range(100)]
    for device in ("held", *others):
        assert (await send(client, tenant, device, fixes[:1])).status == 200
    async with locked(tenant, "held"):
        async with read_only(tenant.dsn):
            await queue(client, tenant, "held", fixes[1:10])
            for device in others:
                await queue(client, tenant, device, fixes[1:20])
            await queue(client, tenant, "held", fixes[10:20])
        for device in others:
            await until_stored(tenant, device, fixes[:20])
        # The outage is over for all but one, which still has to wait.
        await client.until("/readyz", 200, within_secs=10)
        assert (await send(client, tenant, others[0], fixes[20:])).receipt == (20, 0, {})
        assert await stored_times(tenant.dsn, tenant.name, "held") == [fixes[0]["timestamp"]]
        [row] = [row for row in await spool_command(spool, "list") if row["batches"]]
        assert (row["kind"], row["fixes"], row["batches"]) == ("waiting", 19, 2)
        waiting = await spool_command(spool, "inspect", row["file"])
        assert [(each["device"], each["fixes"]) for each in waiting] == [("held", 9), ("held", 10)]
    await until_stored(tenant, "held", fixes[:20])
    await until_drained(spool)


async def test_an_error_nobody_knows_holds_its_device_back_until_it_passes(client, tenant, spool):
    fixes = track(40)
    for device in ("odd", "plain"):
        assert (await send(client, tenant, device, fixes[:1])).status == 200
    async with read_only(tenant.dsn):
        for device in ("odd", "plain"):
            await queue(client, tenant, device, fixes[1:20])
            await queue(client, tenant, device, fixes[20:])
        await raising(tenant.dsn, "odd", "XX000")
    await until_stored(tenant, "plain", fixes)
    await asyncio.sleep(3)
    assert await stored_times(tenant.dsn, tenant.name, "odd") == [fixes[0]["timestamp"]]
    assert files(spool, "refused") == []
    await raising(tenant.dsn, "odd", None)
    await until_stored(tenant, "odd", fixes)
    await until_drained(spool)


async def test_each_device_is_stored_in_the_order_of_its_receipts(client, tenant, spool):
    fixes, devices = track(300), [f"van-{number}" for number in range(5)]
    for device in devices:
        assert (await send(client, tenant, device, fixes[:1])).status == 200
    async with locked(tenant, devices[0]):
        async with read_only(tenant.dsn):
            for start in range(1, 200, 10):
                for device in devices:
                    await queue(client, tenant, device, fixes[start : start + 10])
            await raising(tenant.dsn, devices[1], "XX000")
        for device in devices[2:]:
            await until_stored(tenant, device, fixes[:201])
    await raising(tenant.dsn, devices[1], None)
    for device in devices:
        await until_stored(tenant, device, fixes[:201])
    assert await late_rows(tenant) == 0


async def test_a_device_whose_page_cannot_be_read_is_no_outage_and_holds_no_other_back(client, tenant, spool):
    fixes, others = track(60), [f"well-{number}" for number in range(3)]
    for device in ("broken", *others):
        assert (await send(client, tenant, device, fixes[:1])).status == 200
    await raising(tenant.dsn, "broken", "58030")
    # More than one file: those after the broken device's are drained as well.
    for start in (1, 11):
        await queue(client, tenant, "broken", fixes[start : start + 10])
        for device in others:
            assert (await send(client, tenant, device, fixes[start : start + 10])).receipt == (10, 0, {})
    async with read_only(tenant.dsn):
        for device in others:
            await queue(client, tenant, device, fixes[21:31])
    for device in others:
        await until_stored(tenant, device, fixes[:31])
    assert (await send(client, tenant, others[0], fixes[31:])).receipt == (29, 0, {})
    await raising(tenant.dsn, "broken", None)
    await until_stored(tenant, "broken", fixes[:21])


async def test_a_disk_that_is_full_for_several_devices_is_an_outage_until_one_is_stored(client, tenant, spool):
    fixes, devices = track(30), [f"van-{number}" for number in range(4)]
    for device in devices:
        assert (await send(client, tenant, device, fixes[:1])).status == 200
        await raising(tenant.dsn, device, "53100")
    for device in devices:
        await queue(client, tenant, device, fixes[1:10])
    async with asyncio.timeout(10):
        while "does not store" not in await health_warnings(client):
            await asyncio.sleep(0.1)
    for _ in range(8):
        began = asyncio.get_running_loop().time()
        await queue(client, tenant, devices[0], fixes[10:20])
        assert asyncio.get_running_loop().time() - began < 0.5, "it was not tried at the database first"
        await asyncio.sleep(0.5)
    for device in devices:
        await raising(tenant.dsn, device, None)
    await until_stored(tenant, devices[0], fixes[:20])
    async with asyncio.timeout(10):
        while "does not store" in await health_warnings(client):
            await asyncio.sleep(0.1)


async def test_what_is_wrong_with_one_batch_puts_it_aside_and_it_is_listed_and_tried_again(client, tenant, spool):
    fixes = track(40)
    for device in ("wrong", "right"):
        assert (await send(client, tenant, device, fixes[:1])).status == 200
    async with read_only(tenant.dsn):
        for device in ("wrong", "right"):
            await queue(client, tenant, device, fixes[1:20])
            await queue(client, tenant, device, fixes[20:])
        await raising(tenant.dsn, "wrong", "22003")
    await until_stored(tenant, "right", fixes)
    await until_drained(spool)
    [row] = await spool_command(spool, "list")
    assert (row["kind"], row["batches"], row["fixes"]) == ("refused", 2, 39)
    batches = await spool_command(spool, "inspect", row["file"])
    assert [(each["tenant"], each["device"], each["fixes"], each["code"]) for each in batches] == [
        (tenant.name, "wrong", 19, "sqlstate_22003"),
        (tenant.name, "wrong", 20, "sqlstate_22003"),
    ]
    async with asyncio.timeout(5):
        while "put aside" not in await health_warnings(client):
            await asyncio.sleep(0.1)
    assert (await client.get("/readyz")).status == 200
    # Tried too early, it is put aside again; later it is stored.
    assert len((await spool_command(spool, "retry"))["files"]) == 1
    await until_drained(spool)
    await raising(tenant.dsn, "wrong", None)
    [row] = await spool_command(spool, "list")
    await spool_command(spool, "retry", row["file"])
    await until_stored(tenant, "wrong", fixes)
    await until_drained(spool)
    assert await spool_command(spool, "list") == []


async def test_batches_of_a_device_over_the_limit_and_of_an_erased_tenant_are_put_aside(client, tenant, spool):
    fixes = track(10)
    gone = await asyncio.to_thread(Tenant, tenant.dsn)
    assert (await send(client, gone, "gone", fixes[:1])).status == 200
    assert (await send(client, tenant, "known", fixes[:1])).status == 200
    async with read_only(tenant.dsn):
        await queue(client, tenant, "known", fixes[1:])
        await queue(client, tenant, "one too many", fixes)
        await queue(client, gone, "gone", fixes[1:])
        await _limit_devices(tenant, 1)
        await _erase(gone)
    await until_stored(tenant, "known", fixes)
    await until_drained(spool)
    batches = [
        (each["device"], each["code"])
        for row in await spool_command(spool, "list")
        for each in await spool_command(spool, "inspect", row["file"])
    ]
    assert sorted(batches) == [("gone", "tenant_unknown"), ("one too many", "device_limit")]
    await _limit_devices(tenant, 100)
    await spool_command(spool, "retry")
    await until_stored(tenant, "one too many", fixes)


async def _limit_devices(tenant, limit):
    await execute(writable(tenant.dsn), "UPDATE tenant SET device_limit = $1 WHERE name = $2", limit, tenant.name)


async def _erase(tenant):
    erase = ("tenant", "erase", tenant.name, "--yes", tenant.name, "--database-url", writable(tenant.dsn))
    done = await asyncio.to_thread(run, *erase)
    assert done.returncode == 0, done.stderr


async def test_the_receipt_is_what_is_stored_although_a_fix_becomes_good_while_it_waits(client, tenant, spool):
    early, good = fix(now_millis() + 600_000 + 1_000), fix(now_millis())
    assert (await send(client, tenant, "van", track(1))).status == 200
    async with locked(tenant, "van"):
        # It is tried for a second before it goes to the spool, where the fix that was too early would be good.
        answer = await send(client, tenant, "van", [early, good])
        assert answer.status == 202
        assert answer.json["queued"] == 1
        assert [reject["code"] for reject in answer.json["rejected"]] == ["timestamp_future"]
        await asyncio.sleep(2)
    await until_drained(spool)
    times = await stored_times(tenant.dsn, tenant.name, "van")
    assert good["timestamp"] in times
    assert early["timestamp"] not in times


async def test_what_was_acknowledged_is_stored_although_the_retention_became_shorter(module_database, session, spool):
    tenant = await asyncio.to_thread(Tenant, module_database)
    fixes = track(10, start_millis=now_millis() - 5 * 86_400_000)
    with serving("--database-url", module_database, "--spool", spool, settings=SETTINGS) as server:
        client = Client(server.url, session)
        assert (await send(client, tenant, "van", fixes[:1])).status == 200
        async with locked(tenant, "van"):
            await queue(client, tenant, "van", fixes[1:])
            await asyncio.to_thread(server.stop)
    await execute(module_database, "UPDATE tenant SET retention_days = 1 WHERE name = $1", tenant.name)
    with serving("--database-url", module_database, "--spool", spool, settings=SETTINGS) as server:
        client = Client(server.url, session)
        await until_stored(tenant, "van", fixes)
        answer = await send(client, tenant, "van", fixes)
        assert {reject["code"] for reject in answer.json["rejected"]} == {"timestamp_expired"}
