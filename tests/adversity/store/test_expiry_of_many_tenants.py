"""Upkeep of 60 tenants with more than a year of days each: nobody is always last, and no job keeps another waiting."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fleetwire.settings import Settings
from fleetwire.store.maintenance import jobs as upkeep_jobs
from fleetwire.store.maintenance.job import Job, load_states, run_jobs
from fleetwire.store.maintenance.rounds import Maintenance
from harness.client import Client
from harness.process import serving
from harness.tenants import Tenant

TENANTS = 60
DAYS = 397
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
SEGMENTS = """
INSERT INTO track_segment (
    tenant_id, fix_count, device_id, first_at, last_at, received_at, offset_millis, lat_e7, lon_e7
)
SELECT d.tenant_id, 1, d.device_id, day.at, day.at, day.at, packed('{0}'), packed('{481371540}'), packed('{115761240}')
FROM device AS d
CROSS JOIN LATERAL (
    SELECT $1::timestamptz - back * interval '1 day' AS at FROM generate_series($2::int, $3::int) AS back
) AS day
"""


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def tenants_with_history(owner, tenants, days):
    for number in range(tenants):
        tenant_id = await owner.fetchval(
            "INSERT INTO tenant (name, retention_days) VALUES ($1, 30) RETURNING tenant_id", f"tenant-{number}"
        )
        await owner.execute("SELECT count(*) FROM create_devices($1, $2)", tenant_id, ["van"])
    # One keeps everything: no partition can be dropped, all must be deleted row by row.
    await owner.execute("UPDATE tenant SET retention_days = 0 WHERE name = 'tenant-0'")
    for back in range(days):
        await owner.execute("SELECT ensure_partition($1)", (TODAY - timedelta(days=back)).date())
    await owner.execute(SEGMENTS, TODAY, 1, days - 1)


async def left(owner):
    return await owner.fetchval(
        "SELECT count(*) FROM track_segment s JOIN tenant t USING (tenant_id) "
        "WHERE t.retention_days = 30 AND first_at < $1::timestamptz - interval '31 days'",
        TODAY,
    )


async def merged(owner):
    return await owner.fetchval("SELECT count(*) FROM track_merged")


async def test_short_rounds_expire_every_tenant_and_merge_meanwhile(database, owner, monkeypatch):
    """Each round has a small part of the time that a pass takes, and each is of another process."""
    await tenants_with_history(owner, TENANTS, DAYS)
    monkeypatch.setattr(upkeep_jobs, "SLICE_SECS", 0.1)
    monkeypatch.setattr(upkeep_jobs, "MERGE_SLICE_SECS", 0.1)
    first_left = await left(owner)
    assert first_left > 20_000
    rounds, seen = 0, []
    while await left(owner) and rounds < 200:
        rounds += 1
        seen.append(await merged(owner))
        await Maintenance(database, Settings(upkeep_secs=60)).run_round()
    assert await left(owner) == 0
    assert rounds > 3
    # Merging went on all the time, and did not begin when all had expired.
    assert seen[rounds // 2] > 0
    of_the_keeper = "SELECT count(*) FROM fix WHERE tenant = 'tenant-0'"
    assert await owner.fetchval(of_the_keeper) == DAYS - 1


async def test_a_job_goes_on_where_it_was_and_a_failing_one_holds_nobody_up(owner):
    places = []

    async def steps(place, pace):
        places.append(dict(place))
        place["step"] = place.get("step", 0) + 1
        return place["step"] == 3

    async def failing(place, pace):
        raise RuntimeError("what must not happen")

    jobs = [Job("failing", failing, 0.0, 1.0, "late"), Job("steps", steps, 3600.0, 1.0, "late")]
    for _ in range(5):
        failed = await run_jobs(owner, jobs)
        assert [name for name, _ in failed] == ["failing"]
    # Three rounds for a pass; then it is not due for an hour.
    assert places == [{}, {"step": 1}, {"step": 2}]
    states = await load_states(owner)
    assert (states["steps"].under_way_secs, states["failing"].finished_secs) == (None, None)
    assert states["failing"].lag_secs(0.0) > 0


async def test_a_backlog_is_a_metric_and_a_sentence_in_health(database, owner, session):
    company = Tenant(database)
    await owner.execute(
        "INSERT INTO upkeep_job (name, place, began_at) VALUES ('merging', $1, now() - interval '3 hours')",
        json.dumps({"until": TODAY.isoformat(), "partition": "track_segment_d20000101"}),
    )
    # Held by another process, so that nothing can be caught up.
    await owner.execute("SELECT pg_advisory_lock(6712439, 4)")
    sentence = "The upkeep job merging is 3.0 h late: rows arrive faster than they are merged, and take up more space."
    with serving("--database-url", database, settings={"FLEETWIRE_UPKEEP_SECS": "0.2"}) as server:
        client = Client(server.url, session)

        async def warnings():
            return (await client.get("/health", token=company.admin)).json["warnings"]

        await until(warnings, lambda found: sentence in found)
        metrics = (await client.get("/metrics", token=company.admin)).body.decode()
        (line,) = [each for each in metrics.splitlines() if each.startswith("fleetwire_store_upkeep_lag_seconds{")]
        assert line.startswith('fleetwire_store_upkeep_lag_seconds{job="merging"} 108')
        await owner.execute("SELECT pg_advisory_unlock(6712439, 4)")
        await until(warnings, lambda found: sentence not in found)
        assert server.faults() == []


async def until(read, holds):
    async with asyncio.timeout(30):
        while not holds(await read()):
            await asyncio.sleep(0.05)
