"""Whatever a database answers for a while, what was queued meanwhile is stored afterwards, and nothing is put aside."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from harness.database import rows, run
from harness.fixes import track
from harness.own_postgres import own_postgres
from harness.process import serving
from harness.spool_faults import (
    files,
    make_faulty,
    queue,
    raising,
    read_only,
    send,
    until_drained,
    until_stored,
)

FAULT_SECS = 4.0
PASSWORD = "as it was"


@pytest.fixture(scope="module")
def postgres():
    with own_postgres() as server:
        run(make_faulty(server.dsn))
        run(_ask_for_passwords(server.dsn))
        yield server


@pytest.fixture(scope="module")
def module_database(postgres):
    owner = urlsplit(postgres.dsn)
    return owner._replace(netloc=f"{owner.username}:{PASSWORD.replace(' ', '%20')}@{owner.hostname or ''}").geturl()


@pytest.fixture
def spool(scratch_dir):
    return scratch_dir / "spool"


@pytest.fixture
def server(module_database, spool):
    settings = {"FLEETWIRE_SPOOL_AFTER_SECS": "1", "FLEETWIRE_UPKEEP_SECS": "0"}
    with serving("--database-url", module_database, "--spool", spool, settings=settings) as running:
        (worker,) = running.workers()
        yield running
        assert running.workers() == [worker]
        assert running.stop() == 0


async def _ask_for_passwords(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{PASSWORD}'")
        hba = Path(await connection.fetchval("SHOW hba_file"))
        hba.write_text("local postgres all trust\nlocal all all scram-sha-256\nhost all all all scram-sha-256\n")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


@asynccontextmanager
async def _beside(dsn):
    """A connection to another database of the same server, which keeps its way in."""
    connection = await asyncpg.connect(dsn, database="postgres")
    try:
        yield connection
    finally:
        await connection.close()


async def _cut(connection):
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'fleetwire%'")


@asynccontextmanager
async def renamed(tenant):
    """The database's name is missing: 3D000 for every new connection."""
    async with _beside(tenant.dsn) as connection:
        await connection.execute("ALTER DATABASE fleetwire ALLOW_CONNECTIONS false")
        await _cut(connection)
        async with asyncio.timeout(10):
            while await connection.fetch("SELECT FROM pg_stat_activity WHERE datname = 'fleetwire'"):
                await asyncio.sleep(0.02)
        await connection.execute("ALTER DATABASE fleetwire RENAME TO fleetwire_away")
        try:
            yield
        finally:
            await connection.execute("ALTER DATABASE fleetwire_away RENAME TO fleetwire")
            await connection.execute("ALTER DATABASE fleetwire ALLOW_CONNECTIONS true")


@asynccontextmanager
async def password_rotated(tenant):
    """The password is another one for a while: 28P01 for every new connection."""
    async with _beside(tenant.dsn) as connection:
        await connection.execute("ALTER ROLE CURRENT_USER PASSWORD 'rotated'")
        await _cut(connection)
        try:
            yield
        finally:
            await connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{PASSWORD}'")


@asynccontextmanager
async def made_read_only(tenant):
    """Every question is answered, nothing is stored: 25006."""
    async with read_only(tenant.dsn):
        yield


def _raised(sqlstate):
    @asynccontextmanager
    async def thrown(tenant):
        await raising(tenant.dsn, "van", sqlstate)
        try:
            yield
        finally:
            await raising(tenant.dsn, "van", None)

    return thrown


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(renamed, id="3D000"),
        pytest.param(password_rotated, id="28P01"),
        pytest.param(made_read_only, id="25006"),
        pytest.param(_raised("58030"), id="58030"),
        pytest.param(_raised("53100"), id="53100"),
    ],
)
async def test_what_was_queued_while_the_database_answered_strangely_is_stored(client, tenant, spool, fault):
    fixes = track(40)
    assert (await send(client, tenant, "van", fixes[:1])).status == 200
    async with fault(tenant):
        await queue(client, tenant, "van", fixes[1:10])
        await asyncio.sleep(FAULT_SECS)
        await queue(client, tenant, "van", fixes[10:20])
    await until_stored(tenant, "van", fixes[:20])
    await until_drained(spool)
    assert files(spool, "refused") == []
    await client.until("/readyz", 200, within_secs=10)
    assert (await send(client, tenant, "van", fixes[20:])).receipt == (20, 0, {})
    assert (await rows(tenant.dsn, "SELECT count(*) FROM store_probe"))[0][0] == 1
