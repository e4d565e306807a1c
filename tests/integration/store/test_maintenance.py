"""Storage over time from outside: a server that merges and expires by itself, and the commands beside it."""

import asyncio
import json

import pytest

from harness.client import Client
from harness.database import execute, rows, stored_times, temporary_database
from harness.fixes import fix, now_millis, track
from harness.process import run, serving
from harness.tenants import Tenant

DAY_MILLIS = 86_400_000
LIMIT_SECS = 20.0
UPKEEP = {"FLEETWIRE_UPKEEP_SECS": "0.2"}  # and quiet for two seconds


@pytest.fixture
def dsn(postgres_dsn, migrated_template):
    with temporary_database(postgres_dsn, migrated_template) as each:
        yield each


@pytest.fixture
def company(dsn):
    return Tenant(dsn)


async def segments(dsn):
    (counts,) = await rows(
        dsn,
        "SELECT (SELECT count(*) FROM track_segment), (SELECT count(*) FROM track_merged), merge_count "
        "FROM live_position",
    )
    return tuple(counts)


async def until(holds):
    async with asyncio.timeout(LIMIT_SECS):
        while not await holds():
            await asyncio.sleep(0.05)


async def test_a_server_merges_what_it_stores_and_nobody_notices(dsn, company, session):
    fixes = track(300, start_millis=now_millis() - 3 * DAY_MILLIS)
    times = [each["timestamp"] for each in fixes]
    with serving("--database-url", dsn, settings=UPKEEP) as server:
        client = Client(server.url, session)
        for start in range(0, 300, 5):
            answer = await client.send({"device": "van", "fixes": fixes[start : start + 5]}, token=company.ingest)
            assert answer.receipt == (5, 0, {})

        async def merged():
            small, large, merges = await segments(dsn)
            return small == 0 and large <= 2 and merges > 0

        await until(merged)
        assert await stored_times(dsn, company.name) == times
        answer = await client.get(
            "/api/devices/van/track", token=company.dispatcher, **{"from": str(times[0]), "format": "csv"}
        )
        assert [int(line.split(",")[1]) for line in answer.body.decode().splitlines()[1:]] == times
        answer = await client.send({"device": "van", "fixes": fixes}, token=company.ingest)
        assert answer.receipt == (0, 300, {})
        metrics = (await client.get("/metrics", token=company.admin)).body.decode()
        counters = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
        assert float(counters["fleetwire_store_merged_segments_total"]) >= 60
        assert float(counters["fleetwire_store_merged_fixes_total"]) >= 300
        assert float(counters["fleetwire_store_upkeep_last_seconds"]) > now_millis() / 1000 - 60
        assert float(counters["fleetwire_store_upkeep_failures_total"]) == 0
        assert server.stop() == 0
        assert server.faults() == []


async def test_what_is_too_old_is_refused_and_deleted(dsn, company, session):
    with serving("--database-url", dsn, settings={"FLEETWIRE_UPKEEP_SECS": "0"}) as server:
        client = Client(server.url, session)
        old = [fix(now_millis() - days * DAY_MILLIS) for days in (40, 29, 9, 1)]
        assert (await client.send({"device": "van", "fixes": old}, token=company.ingest)).receipt == (4, 0, {})
    with serving("--database-url", dsn, settings={**UPKEEP, "FLEETWIRE_RETENTION_DAYS": "30"}) as server:
        client = Client(server.url, session)
        answer = await client.send({"device": "van", "fixes": old}, token=company.ingest)
        assert answer.receipt == (0, 3, {0: "timestamp_expired"})
        assert answer.json["rejected"][0]["detail"] == "timestamp is older than fixes are kept here."
        since = {"from": str(old[0]["timestamp"] - 1), "format": "csv"}
        seen = await client.get("/api/devices/van/track", token=company.dispatcher, **since)
        assert [int(line.split(",")[1]) for line in seen.body.decode().splitlines()[1:]] == [
            each["timestamp"] for each in old[1:]
        ]
        assert "etag" not in seen.headers
        before = since | {"to": str(old[0]["timestamp"] + 1)}
        none = await client.get("/api/devices/van/track", token=company.dispatcher, **before)
        assert (none.status, len(none.body.decode().splitlines())) == (200, 1)

        async def expired():
            return await stored_times(dsn, company.name) == [each["timestamp"] for each in old[1:]]

        await until(expired)
        metrics = (await client.get("/metrics", token=company.admin)).body.decode()
        assert "fleetwire_store_expired_fixes_total 1.0" in metrics
        assert server.faults() == []
    # The tenant itself keeps less; the next server knows it from the start.
    kept = run("tenant", "retention", company.name, "10", "--database-url", dsn)
    assert (kept.returncode, kept.stdout) == (0, f"{company.name} keeps its fixes 10 days\n")
    done = run("upkeep", "--json", "--database-url", dsn)
    assert json.loads(done.stdout)["expired_fixes"] == 1, done.stderr
    assert await stored_times(dsn, company.name) == [each["timestamp"] for each in old[2:]]
    with serving("--database-url", dsn, settings=UPKEEP) as server:
        answer = await Client(server.url, session).send({"device": "van", "fixes": old}, token=company.ingest)
        assert answer.receipt == (0, 2, {0: "timestamp_expired", 1: "timestamp_expired"})


async def test_rows_of_ended_logins_go_an_hour_after_their_end(dsn, company, session):
    await asyncio.to_thread(company.user, "sam", "viewer")
    ends = {"living": (60, None), "expired just now": (-1, None), "expired": (-61, None)}
    ends |= {"revoked just now": (60, -1), "revoked": (60, -61)}
    for expires, revoked in ends.values():
        await execute(
            dsn,
            "INSERT INTO session (tenant_id, session_id, user_id, expires_at, revoked_at) "
            "SELECT tenant_id, gen_random_uuid(), user_id, now() + $1 * interval '1 minute', "
            "now() + $2 * interval '1 minute' FROM app_user WHERE name = 'sam'",
            expires,
            revoked,
        )
    with serving("--database-url", dsn, settings=UPKEEP) as server:

        async def cleaned():
            return (await rows(dsn, "SELECT count(*) FROM session"))[0][0] == 3

        await until(cleaned)
        metrics = (await Client(server.url, session).get("/metrics", token=company.admin)).body.decode()
        assert "fleetwire_store_ended_sessions_total 2.0" in metrics
        assert server.faults() == []
    done = run("upkeep", "--json", "--database-url", dsn)
    assert json.loads(done.stdout)["ended_sessions"] == 0, done.stderr
    assert (await rows(dsn, "SELECT count(*) FROM session WHERE expires_at > now() AND revoked_at IS NULL"))[0][0] == 1


async def test_old_entries_of_the_audit_log_go_and_nothing_else(dsn, company, session):
    rival = await asyncio.to_thread(Tenant, dsn)
    for tenant in (company, rival):
        for days in (500, 401, 399, 0):
            await execute(
                dsn,
                "INSERT INTO audit_log (tenant_id, noted_at, actor, action, subject) "
                "SELECT tenant_id, now() - $2 * interval '1 day', 'eva', 'user.create', $3 FROM tenant WHERE name = $1",
                tenant.name,
                days,
                f"made {days} days ago",
            )

    async def kept():
        found = await rows(dsn, "SELECT subject FROM audit_log WHERE actor = 'eva' ORDER BY tenant_id, audit_id")
        return [row[0] for row in found]

    with serving("--database-url", dsn, settings=UPKEEP) as server:

        async def expired():
            return await kept() == ["made 399 days ago", "made 0 days ago"] * 2

        await until(expired)
        client = Client(server.url, session)
        metrics = (await client.get("/metrics", token=company.admin)).body.decode()
        assert "fleetwire_store_expired_audit_entries_total 4.0" in metrics
        told = (await client.get("/api/audit", token=company.admin)).json["entries"]
        assert [each["subject"] for each in told if each["actor"] == "eva"] == ["made 0 days ago", "made 399 days ago"]
        assert server.faults() == []
    for days, left in (("0", 4), ("1", 2)):
        done = run("upkeep", "--json", "--database-url", dsn, settings={"FLEETWIRE_AUDIT_RETENTION_DAYS": days})
        assert json.loads(done.stdout)["expired_audit_entries"] == 4 - left, done.stderr
        assert len(await kept()) == left


async def test_a_device_is_removed_beside_a_running_server_and_may_come_back(dsn, company, session):
    with serving("--database-url", dsn, settings=UPKEEP) as server:
        client = Client(server.url, session)
        for device in ("van", "bus"):
            answer = await client.send({"device": device, "fixes": track(10)}, token=company.ingest)
            assert answer.receipt == (10, 0, {})

        async def shown():
            answer = await client.get("/api/live", token=company.dispatcher)
            return sorted(each["properties"]["device"] for each in answer.json["features"])

        async def both():
            return await shown() == ["bus", "van"]

        await until(both)
        refused = run("device", "remove", company.name, "van", "--database-url", dsn)
        assert (refused.returncode, refused.stdout) == (2, "")
        removed = run("device", "remove", company.name, "van", "--yes", "van", "--database-url", dsn)
        assert removed.stdout == "van is removed, with 10 fixes\n", removed.stderr

        async def gone():
            return await shown() == ["bus"]

        await until(gone)
        listed = json.loads(run("device", "list", company.name, "--json", "--database-url", dsn).stdout)
        assert [each["name"] for each in listed] == ["bus"]
        # The same fixes again make a new device of that name.
        answer = await client.send({"device": "van", "fixes": track(10)}, token=company.ingest)
        assert answer.receipt == (10, 0, {})
        await until(both)
        assert server.faults() == []


async def test_a_tenant_is_exported_and_erased_beside_a_running_server(dsn, company, session, tmp_path):
    rival = await asyncio.to_thread(Tenant, dsn)
    with serving("--database-url", dsn, settings=UPKEEP) as server:
        client = Client(server.url, session)
        for tenant in (company, rival):
            sent = await client.send({"device": "van", "fixes": track(100)}, token=tenant.ingest)
            assert sent.receipt == (100, 0, {})
        listed = json.loads(run("tenant", "list", "--json", "--database-url", dsn).stdout)
        assert [(each["name"], each["devices"]) for each in listed] == sorted([(company.name, 1), (rival.name, 1)])
        outcome = run("tenant", "export", company.name, tmp_path / "out", "--database-url", dsn)
        assert outcome.returncode == 0, outcome.stderr
        assert "fix: 100\n" in outcome.stdout
        assert len((tmp_path / "out/fix.csv").read_text().splitlines()) == 101
        refused = run("tenant", "erase", company.name, "--yes", rival.name, "--database-url", dsn)
        assert (refused.returncode, refused.stdout) == (2, "")
        outcome = run("tenant", "erase", company.name, "--yes", company.name, "--json", "--database-url", dsn)
        assert json.loads(outcome.stdout)["fix"] == 100, outcome.stderr
        answer = await client.send({"device": "van", "fixes": track(1)}, token=company.ingest)
        assert answer.refusal == (401, "token_invalid")
        answer = await client.send({"device": "van", "fixes": track(1)}, token=rival.ingest)
        assert answer.status == 200
        assert await stored_times(dsn, company.name) == []
        assert run("tenant", "erase", company.name, "--yes", company.name, "--database-url", dsn).returncode == 1
        assert server.faults() == []
