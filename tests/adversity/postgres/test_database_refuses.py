"""A database that refuses for a while, for reasons that do not pass by themselves: all background tasks go on after it.

It is renamed away, its password is changed, it is made read-only. An operator who puts that right need not restart
anything.
"""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from harness.client import Client
from harness.database import execute, rows
from harness.fixes import track
from harness.ledger import Ledger
from harness.own_postgres import own_postgres
from harness.process import serving
from harness.senders import sending
from harness.tenants import Tenant

ROLE, PASSWORD = "operated", "before"
REFUSED_SECS = 3.0
OUTAGE_SECS = 2.0  # longer than a commit is tried
HEAL_SECS = 30.0
SETTINGS = {"FLEETWIRE_COMMIT_GIVE_UP_SECS": "1", "FLEETWIRE_UPKEEP_SECS": "0.5"}


@pytest.fixture(scope="module")
def postgres():
    with own_postgres() as server:
        yield server


@pytest.fixture
async def dsn(postgres):
    """Of an owner who needs a password; the others of the test need none."""
    hba = postgres._folder / "pg_hba.conf"
    if ROLE not in hba.read_text():
        await execute(postgres.dsn, f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        hba.write_text(f"local all {ROLE} scram-sha-256\n{hba.read_text()}")
        await execute(postgres.dsn, "SELECT pg_reload_conf()")
    address = urlsplit(postgres.dsn)
    return address._replace(netloc=f"{ROLE}:{PASSWORD}@{address.netloc.rpartition('@')[2]}").geturl()


@asynccontextmanager
async def _connection_later():
    """Connects to the maintenance database when it is called."""
    async with AsyncExitStack() as exits:

        async def connect(dsn):
            connection = await asyncpg.connect(dsn.replace("/fleetwire?", "/postgres?"))
            exits.push_async_callback(connection.close)
            return connection

        yield connect


async def _end_sessions(connection):
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
    )


async def _rename(connection, before, after):
    async with asyncio.timeout(HEAL_SECS):
        while True:
            await _end_sessions(connection)
            try:
                return await connection.execute(f"ALTER DATABASE {before} RENAME TO {after}")
            except asyncpg.ObjectInUseError:  # a worker came back in between
                continue


@asynccontextmanager
async def renamed(connection):
    await _rename(connection, "fleetwire", "renamed")
    yield
    await _rename(connection, "renamed", "fleetwire")


@asynccontextmanager
async def password_changed(connection):
    await connection.execute(f"ALTER ROLE {ROLE} PASSWORD 'after'")
    await _end_sessions(connection)
    yield
    await connection.execute(f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")


@asynccontextmanager
async def read_only(connection):
    await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    await connection.execute("SELECT pg_reload_conf()")
    yield
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
    await connection.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("refusing", [renamed, password_changed, read_only], ids=lambda refusing: refusing.__name__)
@pytest.mark.parametrize("spools", [True, False], ids=["spool", "no_spool"])
async def test_tasks_go_on_after_a_database_that_refused(postgres, dsn, session, scratch_dir, refusing, spools):
    tenant, ledger = await asyncio.to_thread(Tenant, postgres.dsn), Ledger()
    spool = ["--spool", scratch_dir / "spool"] if spools else []
    with serving("--database-url", dsn, *spool, settings=SETTINGS) as server:
        client = Client(server.url, session)
        (worker,) = server.workers()
        async with sending([client], tenant.ingest, ledger) as senders, _connection_later() as connect:
            if spools:
                # There is something to drain when the refusals begin.
                await asyncio.to_thread(postgres.stop)
                await asyncio.sleep(OUTAGE_SECS)
                await asyncio.to_thread(postgres.start)
            async with refusing(await connect(postgres.dsn)):
                await asyncio.sleep(REFUSED_SECS)
                assert (await client.get("/livez")).status == 200
                assert refusing is read_only or (await client.get("/readyz")).status == 503
            # Not merely queued: what is acknowledged now has to be drained or stored.
            await senders.acknowledged(3)
            await _until_calm(client)
        await _until_nothing_is_spooled(scratch_dir / "spool")
        await ledger.verify(postgres.dsn, tenant.name, commits_went_unheard=True)
        assert ledger.lost == 0
        newcomer = await asyncio.to_thread(Tenant, postgres.dsn)
        answer = await client.send({"device": "late", "fixes": track(3)}, token=newcomer.ingest)
        assert answer.receipt == (3, 0, {})
        await _until_noted(postgres.dsn, newcomer)
        assert server.workers() == [worker]
        assert list((scratch_dir / "spool").glob("*.refused")) == []
        assert server.faults() == []


async def _until_calm(client):
    """Waits until nothing fails any more and the worker may have traffic."""
    async with asyncio.timeout(HEAL_SECS):
        while True:
            health = (await client.get("/health")).json
            if not health["warnings"] and (await client.get("/readyz")).status == 200:
                break
            await asyncio.sleep(0.1)
    assert health["stuck_tasks"] == []


async def _until_nothing_is_spooled(folder):
    async with asyncio.timeout(HEAL_SECS):
        while list(folder.glob("*.spool")):
            await asyncio.sleep(0.1)


async def _until_noted(dsn, tenant):
    """The task that notes when a credential was last used is alive: nothing else writes that."""
    async with asyncio.timeout(HEAL_SECS):
        while not await rows(
            dsn,
            "SELECT FROM credential AS c JOIN tenant AS t USING (tenant_id) "
            "WHERE t.name = $1 AND c.last_used_at IS NOT NULL",
            tenant.name,
        ):
            await asyncio.sleep(0.2)
