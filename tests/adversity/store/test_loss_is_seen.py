"""The ledger sees a loss where there is one: PostgreSQL acknowledges commits early, and is killed.

The server refuses such a database at its start, so it is made one while the server runs. This is what shows that the
other tests of this folder could fail.
"""

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from fleetwire.postgres.embedded import pgdata
from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.migrate import migrate
from harness import database
from harness.client import Client
from harness.fixes import track
from harness.ledger import Ledger
from harness.process import alive, children, serving, wait_until
from harness.senders import HEAL_SECS, sending
from harness.tenants import Tenant

# Commits are flushed by a background process alone, and by it as seldom as it can be told.
EARLY = ("synchronous_commit = off", "wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'")


@pytest.fixture
def postgres(scratch_dir, monkeypatch):
    """One that can be told to lose what it committed, as an operator's own could be."""
    monkeypatch.delitem(pgdata._FIXED, "synchronous_commit")
    embedded = EmbeddedPostgres(scratch_dir / "data")
    embedded.start()
    yield embedded
    embedded.stop()


async def _acknowledge_early(dsn):
    for setting in EARLY:
        await database.execute(dsn, f"ALTER SYSTEM SET {setting}")
    await database.execute(dsn, "SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while (await database.rows(dsn, "SHOW synchronous_commit"))[0][0] != "off":
            await asyncio.sleep(0.05)


def _kill(postgres):
    """All its processes, the writer of its log first."""
    main = postgres._found.pid
    whole = [main, *children(main)]
    for pid in whole:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not postgres.running and not any(map(alive, whole)), limit_secs=10, what="the database is dead")


async def test_acknowledged_fixes_that_a_database_lost_are_found_missing(postgres, session):
    dsn, before, after = postgres.dsn, Ledger(), Ledger()
    await migrate(dsn)
    tenant = await asyncio.to_thread(Tenant, dsn)
    rival = await asyncio.to_thread(Tenant, dsn)
    with serving("--database-url", dsn, settings={"FLEETWIRE_COMMIT_GIVE_UP_SECS": "1"}) as server:
        client = Client(server.url, session)
        async with sending([client], tenant.ingest, before):
            pass
        async with sending([client], rival.ingest, after) as senders:
            await _acknowledge_early(dsn)
            await senders.acknowledged(20)
            await asyncio.to_thread(_kill, postgres)
            senders.give_up()
        await asyncio.to_thread(postgres.revive)
        found = await after.compare(dsn, rival.name)
        assert found.missing, "the ledger would not notice a loss"
        assert not found.doubled
        assert not found.foreign
        await before.verify(dsn, tenant.name)
        # The server takes no new connection to such a database: from here on it acknowledges nothing.
        assert (await client.get("/readyz")).status == 503
        answer = await client.send({"device": "car-0", "fixes": track(3)}, token=tenant.ingest)
        assert answer.refusal in {(503, "database_unavailable"), (503, "access_unavailable")}
        assert "synchronous_commit=off" in server.log()
        for setting in EARLY:
            await database.execute(dsn, f"ALTER SYSTEM RESET {setting.split()[0]}")
        await database.execute(dsn, "SELECT pg_reload_conf()")
        await client.until("/readyz", 200, within_secs=HEAL_SECS)
        # What was in memory of the database before its loss is dropped first; until then batches are refused.
        async with asyncio.timeout(HEAL_SECS):
            while (
                answer := await client.send({"device": "car-0", "fixes": track(3)}, token=tenant.ingest)
            ).status == 503:
                await asyncio.sleep(0.1)
        assert answer.receipt == (3, 0, {})
