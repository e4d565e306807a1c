"""A tenant's data: all of it in an export, nothing of it after an erasure, and nothing of anybody else's in either."""

import asyncio
import csv
import hashlib
import json
from datetime import UTC, datetime

import pytest

from fleetwire.access.accounts.owner_admin import create_user, issue_token
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL
from fleetwire.errors import FleetwireError, Problem
from fleetwire.replay.csv_rows import read_csv
from fleetwire.store import tenant_export
from fleetwire.store.maintenance.compaction import Compaction
from fleetwire.store.maintenance.rounds import exclusive
from fleetwire.store.tenant_erasure import erase
from fleetwire.store.tenant_export import export
from fleetwire.store.tenants import list_tenants
from harness.writing import at, fixes_of, writing

NOON_MILLIS = int(datetime(2025, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)
TIMES = range(NOON_MILLIS, NOON_MILLIS + 50_000, 1_000)


async def at_once(_):
    return True


@pytest.fixture
async def token(database, owner, acme, rival):
    """Two tenants with everything; a token of the first."""
    for name, fleet in (("acme", acme), ("rival", rival)):
        async with writing(database, fleet.tenant_id) as write:
            for device in fleet.device_ids[:2]:
                await write.store_in_batches(device, at(TIMES), 5)
        await Compaction(owner, merge_after_secs=0, pace=at_once).run(now_millis=NOON_MILLIS + 2 * 86_400_000, place={})
        async with writing(database, fleet.tenant_id) as write:
            await write.store(fleet.device_ids[0], at([NOON_MILLIS + 500, NOON_MILLIS + 1_500]))
        await create_user(owner, name, "dora", "correct horse battery staple", "dispatcher")
        await issue_token(owner, name, "user", "dora")
    return await issue_token(owner, "acme", "ingest")


async def rows_by_table(owner, tenant_id):
    tables = await owner.fetch("""
        SELECT c.relname::text AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relnamespace = 'public'::regnamespace
    """)
    counts = {
        row["name"]: await owner.fetchval(f"SELECT count(*) FROM {row['name']} WHERE tenant_id = $1", tenant_id)
        for row in tables
    }
    return {name: count for name, count in counts.items() if count}


async def test_tenants_are_listed(owner, acme, rival):
    tenants = await list_tenants(owner)
    assert [(each.name, each.devices, each.status, each.retention_days) for each in tenants] == [
        ("acme", 5, "active", None),
        ("rival", 5, "active", None),
    ]


async def test_an_export_holds_everything_of_the_tenant_and_no_secret(owner, acme, token, tmp_path):
    rows = await export(owner, "acme", tmp_path / "out")
    assert rows["fix"] == 102
    assert {"fix", "tenant", "device", "live_position", "app_user", "credential", "session"} <= rows.keys()
    assert (rows["device"], rows["app_user"], rows["credential"], rows["tenant"]) == (5, 1, 2, 1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.csv" for name in rows} | {"export.json"}
    assert json.loads((tmp_path / "out/export.json").read_text())["rows"] == rows
    everything = "".join(path.read_text() for path in (tmp_path / "out").glob("*.csv"))
    assert hashlib.sha256(token.encode()).hexdigest() not in everything
    assert "argon2" not in everything
    assert "rival" not in everything
    with (tmp_path / "out/fix.csv").open() as file:
        exported = sorted((row["device"], int(row["ts_ms"]), float(row["lat"])) for row in csv.DictReader(file))
    stored = [row for row in await fixes_of(owner) if row[0] == "acme"]
    assert exported == [(row[1], round(row[2].timestamp() * 1000), row[3]) for row in stored]


async def test_an_export_can_be_replayed(owner, acme, token, tmp_path):
    await export(owner, "acme", tmp_path / "out")
    with (tmp_path / "out/fix.csv").open("rb") as file:
        rows = list(read_csv(file, "fix.csv", None))
    assert len(rows) == 102
    assert {row[0] for row in rows} == {"truck-1", "truck-2"}


async def test_an_export_overwrites_nothing_and_goes_on_after_an_interruption(
    owner, acme, token, tmp_path, monkeypatch
):
    with pytest.raises(FleetwireError, match="exists already"):
        await export(owner, "acme", tmp_path)
    with pytest.raises(Problem, match="no tenant"):
        await export(owner, "nobody", tmp_path / "out")
    whole = await export(owner, "acme", tmp_path / "whole")
    # A device at a time, and the third statement fails after it has written something.
    monkeypatch.setattr(tenant_export, "FIXES_AT_ONCE", 1)
    saved = []
    save = tenant_export._save

    def save_some(folder, progress):
        save(folder, progress)
        saved.append(progress.after_device_id)
        if len(saved) == 3:
            raise OSError("The disk is full.")

    monkeypatch.setattr(tenant_export, "_save", save_some)
    with pytest.raises(OSError, match="full"):
        await export(owner, "acme", tmp_path / "out")
    with (tmp_path / "out/fix.csv").open("a") as file:
        file.write("truck-1,17")
    assert not (tmp_path / "out/export.json").exists()
    monkeypatch.setattr(tenant_export, "_save", save)
    with pytest.raises(FleetwireError, match="something else"):
        await export(owner, "acme", tmp_path / "out", for_spreadsheet=True)
    assert await export(owner, "acme", tmp_path / "out") == whole
    assert not (tmp_path / "out/progress.json").exists()
    first, second = (sorted((tmp_path / each / "fix.csv").read_text().splitlines()) for each in ("whole", "out"))
    assert first == second
    with pytest.raises(FleetwireError, match="exists already"):
        await export(owner, "acme", tmp_path / "out")


async def test_an_erasure_leaves_nothing_of_the_tenant_and_all_of_the_other(database, owner, acme, rival, token):
    theirs, fixes = await rows_by_table(owner, rival.tenant_id), await fixes_of(owner)
    heard = []
    await owner.add_listener(REVOKED_CHANNEL, lambda *arguments: heard.append(arguments[-1]))
    async with exclusive(database) as connection:
        deleted = await erase(connection, "acme")
    assert (deleted["fix"], deleted["device"], deleted["tenant"], deleted["app_user"]) == (102, 5, 1, 1)
    assert await rows_by_table(owner, acme.tenant_id) == {}
    assert await rows_by_table(owner, rival.tenant_id) == theirs
    assert await fixes_of(owner) == [row for row in fixes if row[0] == "rival"]
    # The workers were told of every credential.
    await owner.execute("SELECT 1")
    assert hashlib.sha256(token.encode()).hexdigest() in heard
    with pytest.raises(Problem, match="no tenant"):
        async with exclusive(database) as connection:
            await erase(connection, "acme")


async def test_an_erasure_ends_though_a_sender_goes_on(database, owner, acme, rival, token):
    stop = asyncio.Event()
    outcomes = set()

    async def send(write, device):
        step = 0
        while not stop.is_set():
            step += 1
            try:
                stored, _ = await write.store(device, at([NOON_MILLIS + 100_000 + step]))
                outcomes.add(stored)
            except Problem as problem:
                outcomes.add(problem.code)
                await asyncio.sleep(0.01)

    async with writing(database, acme.tenant_id) as write, writing(database, rival.tenant_id) as other:
        senders = [asyncio.create_task(send(write, device)) for device in acme.device_ids]
        senders.append(asyncio.create_task(send(other, rival.device_ids[3])))
        await asyncio.sleep(0.1)
        async with exclusive(database) as connection:
            await erase(connection, "acme")
        stop.set()
        await asyncio.gather(*senders)
    assert 1 in outcomes
    assert await rows_by_table(owner, acme.tenant_id) == {}


async def test_only_one_process_at_a_time(database, monkeypatch):
    monkeypatch.setattr("fleetwire.store.maintenance.rounds.TAKE_TURNS_SECS", 0.2)
    async with exclusive(database):
        with pytest.raises(FleetwireError, match="Another process"):
            async with exclusive(database):
                pass
    async with exclusive(database):
        pass
