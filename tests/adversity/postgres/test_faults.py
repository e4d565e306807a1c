"""The database is cut, held, frozen and killed under load: receipts stay true, and all heals by itself."""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from fleetwire.postgres.embedded.server import EmbeddedPostgres, running_dsn
from fleetwire.postgres.migrate import migrate
from fleetwire.replay import ReplayOptions, replay
from harness import database, traces
from harness.client import Client
from harness.database import stored_times
from harness.fixes import fix, track
from harness.process import Server, alive, children, serving, wait_until
from harness.tenants import Tenant

GIVE_UP_SECS = 2
HEAL_SECS = 20


@pytest.fixture(scope="module")
def postgres():
    """A database server of this file's own, so that nobody else stands still with it."""
    with TemporaryDirectory(prefix="fleetwire-test-") as folder, EmbeddedPostgres(Path(folder) / "data") as embedded:
        yield embedded


@pytest.fixture(scope="module")
def module_database(postgres):
    database.run(migrate(postgres.dsn))
    return postgres.dsn


@pytest.fixture(scope="module")
def server(module_database):
    with serving(
        "--database-url", module_database, settings={"FLEETWIRE_COMMIT_GIVE_UP_SECS": str(GIVE_UP_SECS)}
    ) as running:
        yield running
        assert running.stop() == 0


async def _until_known(tenant, devices):
    """Waits until each device has been created: by then the credential is known, whose look-up is not tried again."""
    count = "SELECT count(*) FROM device JOIN tenant t USING (tenant_id) WHERE t.name = $1"
    async with asyncio.timeout(20):
        while (await database.rows(tenant.dsn, count, tenant.name))[0][0] < devices:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def load(server, tenant, tmp_path):
    """A replay that goes on while the block runs; afterwards everything must be stored once."""
    path = traces.synthetic(tmp_path, devices=20, fixes=200)
    recorded = list(traces.rows([path]))
    expected = traces.truth(recorded)
    options = ReplayOptions(
        files=(str(path),), url=server.url, token=tenant.ingest, batch_size=5, senders=6, show_progress=False
    )
    running = asyncio.ensure_future(replay(options))
    await _until_known(tenant, len({device for device, _ in expected}))
    yield running
    summary = await running
    assert summary.sent == len(recorded)
    assert summary.stored + summary.duplicate + sum(summary.rejected.values()) == summary.sent
    assert summary.stored <= len(expected)
    found = await database.stored(tenant.dsn, tenant.name)
    assert sorted((each.device, each.millis) for each in found) == sorted(expected)
    assert all((each.lat_e7, each.lon_e7) in expected[each.device, each.millis] for each in found)


TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
POOLED = TERMINATE + "application_name = 'fleetwire'"
EVERY = TERMINATE + "datname = current_database()"


async def test_connections_cut_again_and_again_lose_nothing(server, client, tenant, tmp_path):
    async with load(server, tenant, tmp_path) as running:
        cuts = 0
        while not running.done() and cuts < 4:
            (row,) = await database.rows(tenant.dsn, POOLED)
            assert row[0] > 0
            cuts += 1
            await asyncio.sleep(0.05)
    assert cuts >= 1, "the load was over before anything was cut"
    assert running.result().retries == 0, "a group that lost its connection is tried again while its senders wait"


async def test_server_hears_of_revocations_again_after_its_connection_was_cut(client, tenant):
    token = await tenant.issue_async("ingest")
    assert (await client.send({"device": "van", "fixes": [fix()]}, token=token)).status == 200
    await database.rows(tenant.dsn, EVERY)
    await asyncio.sleep(1)
    await tenant.revoke(token)
    async with asyncio.timeout(5):
        # A look-up that meets a connection which was cut may be answered 503.
        while (answer := await client.send({"device": "van", "fixes": [fix()]}, token=token)).status != 401:
            await asyncio.sleep(0.05)
    assert answer.code == "token_revoked"


async def test_crash_of_one_backend_restarts_the_database_and_loses_nothing(server, tenant, tmp_path):
    async with load(server, tenant, tmp_path):
        (row,) = await database.rows(
            tenant.dsn, "SELECT pid FROM pg_stat_activity WHERE application_name = 'fleetwire' ORDER BY state LIMIT 1"
        )
        os.kill(row[0], signal.SIGKILL)


async def test_lock_on_one_device_holds_up_that_device_alone(server, client, tenant):
    at = [fix() for _ in range(3)]
    for name in ("held", "free"):
        assert (await client.send({"device": name, "fixes": at[:1]}, token=tenant.ingest)).receipt == (1, 0, {})
    connection = await asyncpg.connect(tenant.dsn)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "SELECT FROM live_position JOIN device USING (tenant_id, device_id) JOIN tenant USING (tenant_id) "
            "WHERE tenant.name = $1 AND device.name = 'held' FOR UPDATE OF live_position",
            tenant.name,
        )
        held = asyncio.ensure_future(client.send({"device": "held", "fixes": at[1:2]}, token=tenant.ingest))
        await asyncio.sleep(0.3)
        started = time.monotonic()
        for each in track(10):
            assert (await client.send({"device": "free", "fixes": [each]}, token=tenant.ingest)).receipt == (1, 0, {})
        assert time.monotonic() - started < 1
        assert not held.done()
        await asyncio.sleep(1)
        await transaction.rollback()
        assert (await held).receipt == (1, 0, {})
    finally:
        await connection.close()
    assert await stored_times(tenant.dsn, tenant.name, "held") == [each["timestamp"] for each in at[:2]]


async def test_lock_held_for_three_seconds_under_load_loses_nothing(server, client, tenant, tmp_path):
    async with load(server, tenant, tmp_path) as running:
        connection = await asyncpg.connect(tenant.dsn)
        try:
            async with connection.transaction():
                await connection.execute(
                    "SELECT FROM live_position JOIN tenant USING (tenant_id) WHERE name = $1 LIMIT 1 "
                    "FOR UPDATE OF live_position",
                    tenant.name,
                )
                await asyncio.sleep(3)
                assert (await client.get("/livez")).status == 200
                assert (await client.get("/readyz")).status == 200
        finally:
            await connection.close()
        assert not running.cancelled()


def _cluster(postgres):
    """Every process of the database server, the main one last."""
    main = postgres._found.pid
    return [*children(main), main]


async def test_frozen_database_is_said_and_survived(server, client, tenant, postgres):
    fixes = track(20)
    assert (await client.send({"device": "van", "fixes": fixes[:1]}, token=tenant.ingest)).status == 200
    assert (await client.get("/api/live", token=tenant.dispatcher)).status == 200
    frozen = _cluster(postgres)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        known = asyncio.gather(
            *(client.send({"device": "van", "fixes": [each]}, token=tenant.ingest) for each in fixes[1:10])
        )
        history = asyncio.ensure_future(client.get("/api/devices/van/track", token=tenant.dispatcher))
        new = asyncio.ensure_future(client.send({"device": "new", "fixes": [fix()]}, token=tenant.ingest))
        await asyncio.sleep(0.5)
        probe = time.monotonic()
        assert (await client.get("/livez")).status == 200
        assert time.monotonic() - probe < 0.5
        assert (await client.get("/readyz")).status == 503
        assert (await client.get("/health")).json["status"] == "degraded"
        answers = await known
        # A batch may wait for the group before its own to be given up.
        assert GIVE_UP_SECS * 0.9 < time.monotonic() - started < 2 * GIVE_UP_SECS + 2
        for answer in [*answers, await new]:
            assert answer.refusal == (503, "database_unavailable")
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert time.monotonic() - started < 8
        # The present needs no database; the past does.
        assert (await client.get("/api/live", token=tenant.dispatcher)).status == 200
        assert (await history).refusal == (503, "database_unavailable")
    finally:
        for pid in frozen[::-1]:
            os.kill(pid, signal.SIGCONT)
    await _healed(client)
    receipts = [await client.send({"device": "van", "fixes": [each]}, token=tenant.ingest) for each in fixes]
    assert all(sum(answer.receipt[:2]) == 1 for answer in receipts)
    assert await stored_times(tenant.dsn, tenant.name, "van") == [each["timestamp"] for each in fixes]


async def _healed(client):
    async with asyncio.timeout(HEAL_SECS):
        while (await client.get("/readyz")).status != 200:
            await asyncio.sleep(0.1)


async def test_killed_database_comes_back_by_itself(scratch_dir, session, tmp_path):
    data_dir = scratch_dir / "data"
    server = await asyncio.to_thread(Server("--data-dir", data_dir).start)
    try:
        dsn = running_dsn(data_dir)
        company = await asyncio.to_thread(Tenant, dsn)
        client = Client(server.url, session)
        async with load(server, company, tmp_path) as running:
            main = server.database()
            whole = [*children(main), main]
            for pid in whole:
                with suppress(ProcessLookupError):  # Some live for a moment only.
                    os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(_gone, whole)
            await _healed(client)
            assert not running.cancelled()
        assert running_dsn(data_dir) == dsn
        assert (await client.send({"device": "van", "fixes": [fix()]}, token=company.ingest)).receipt == (1, 0, {})
    finally:
        assert server.stop() == 0
        server.close()


def _gone(pids):
    wait_until(lambda: not any(map(alive, pids)), limit_secs=5, what="the database is dead")
