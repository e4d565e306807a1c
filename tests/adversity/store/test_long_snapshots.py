"""Long snapshots beside ingest: nothing is lost or doubled, an export holds none for long, and the operator is told."""

import asyncio
import csv
import json

import asyncpg

from harness.client import Client
from harness.database import stored_times
from harness.fixes import fix, now_millis
from harness.ledger import Ledger
from harness.process import run, serving
from harness.tenants import Tenant

SETTINGS = {"FLEETWIRE_UPKEEP_SECS": "0.2", "FLEETWIRE_OLD_SNAPSHOT_SECS": "1"}
DEVICES = 8
MOVES = 150


async def drive(client, company, ledger, start_millis, moves):
    """Every device sends a fix a second of its own clock, one batch after the other."""

    async def one(device):
        for move in range(moves):
            answer = await ledger.send(client, company.ingest, device, [fix(start_millis + move * 1_000)])
            assert answer is not None
            assert answer.status == 200

    await asyncio.gather(*(one(f"van-{number}") for number in range(DEVICES)))


async def test_moves_beside_a_snapshot_are_stored_once_and_health_names_it(module_database, session):
    company, ledger = Tenant(module_database), Ledger()
    start_millis = now_millis() - 3_600_000
    with serving("--database-url", module_database, settings=SETTINGS) as server:
        client = Client(server.url, session)
        await drive(client, company, ledger, start_millis, 3)
        reader = await asyncpg.connect(module_database)
        async with reader.transaction(isolation="repeatable_read"):
            seen = await reader.fetchval("SELECT count(*) FROM fix WHERE tenant = $1", company.name)
            await drive(client, company, ledger, start_millis + 3_000, MOVES)
            # Late ones, and some of those before again.
            await drive(client, company, ledger, start_millis + 500, 20)
            await drive(client, company, ledger, start_millis + 5_000, 5)
            await ledger.verify(module_database, company.name)
            assert await reader.fetchval("SELECT count(*) FROM fix WHERE tenant = $1", company.name) == seen
            await asyncio.sleep(1.5)
            health = await client.get("/health", token=company.admin)
            named = f"The session with process id {reader.get_server_pid()} has held an old snapshot"
            assert [each for each in health.json["warnings"] if each.startswith(named)]
            metrics = (await client.get("/metrics", token=company.admin)).body.decode()
            (age,) = [each for each in metrics.splitlines() if each.startswith("fleetwire_store_oldest_snapshot_sec")]
            assert float(age.split()[1]) > 1
        await reader.close()
        live = await client.get("/api/live", token=company.admin)
        newest = {each["properties"]["timestamp"] for each in live.json["features"]}
        assert newest == {start_millis + 3_000 + (MOVES - 1) * 1_000}
        assert server.faults() == []


async def test_an_export_beside_ingest_and_merging_has_every_fix_from_before_once(module_database, session, tmp_path):
    company, ledger = Tenant(module_database), Ledger()
    start_millis = now_millis() - 3 * 86_400_000
    settings = {**SETTINGS, "FLEETWIRE_MERGE_AFTER_SECS": "0"}
    with serving("--database-url", module_database, settings=settings) as server:
        client = Client(server.url, session)
        for day in range(3):
            await drive(client, company, ledger, start_millis + day * 86_400_000, 30)
        before = await stored_times(module_database, company.name)
        going = asyncio.create_task(drive(client, company, ledger, start_millis + 600_000, 60))
        outcome = await asyncio.to_thread(
            run, "tenant", "export", company.name, tmp_path / "out", "--json", "--database-url", module_database
        )
        assert outcome.returncode == 0, outcome.stderr
        await going
        await ledger.verify(module_database, company.name)
        after = await stored_times(module_database, company.name)
        assert server.faults() == []
    with (tmp_path / "out/fix.csv").open() as file:
        exported = [(row["device"], int(row["ts_ms"])) for row in csv.DictReader(file)]
    assert json.loads(outcome.stdout)["fix"] == len(exported) == len(set(exported))
    times = sorted(time for _, time in exported)
    assert set(before) <= set(times) <= set(after)
    assert len(times) >= len(before)
