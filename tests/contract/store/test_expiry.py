"""Retention: what has expired goes, what has not stays, and ingest does not wait for it."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fleetwire.errors import Problem
from fleetwire.postgres.pool import open_pool
from fleetwire.runtime import clock
from fleetwire.runtime.retry import failures_by_task
from fleetwire.settings import Settings
from fleetwire.store import retention
from fleetwire.store.maintenance import fix_expiry
from fleetwire.store.maintenance.compaction import Compaction
from fleetwire.store.maintenance.fix_expiry import Expiry, agreed_millis
from fleetwire.store.maintenance.rounds import run_once
from fleetwire.store.retention import Retention
from fleetwire.store.tenants import set_retention
from harness.writing import at, fixes_of, writing

DAY_MILLIS = 86_400_000
NOON = datetime(2025, 11, 20, 12, tzinfo=UTC)
NOON_MILLIS = int(NOON.timestamp() * 1000)


async def at_once(_):
    return True


async def expire(connection, *, days, now_millis=NOON_MILLIS, pace=at_once):
    return await Expiry(connection, retention_days=days, pace=pace).run(now_millis=now_millis)


async def store_daily(database, fleet, days, *, device=0):
    """A batch of ten fixes at noon, so many days back, and every day from there to the present one."""
    async with writing(database, fleet.tenant_id) as write:
        for back in range(days + 1):
            start = NOON_MILLIS - back * DAY_MILLIS
            await write.store(fleet.device_ids[device], at(range(start, start + 10)))


async def partitions(owner):
    rows = await owner.fetch(
        "SELECT c.relname::text FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid "
        "WHERE c.relname ~ '^track_.*_[dm]' AND c.relkind = 'r' ORDER BY 1"
    )
    return [row[0] for row in rows if row[0].endswith(tuple(f"_d202511{day:02}" for day in range(10, 21)))]


def names(kind, *days):
    return [f"track_{kind}_d202511{day:02}" for day in days]


async def test_nothing_expires_by_default(database, owner, acme):
    await store_daily(database, acme, 3)
    done = await expire(owner, days=0)
    assert (done.partitions_dropped, done.fixes) == (0, 0)
    assert len(await fixes_of(owner)) == 40


async def test_partitions_go_when_all_their_days_have_expired_for_everybody(database, owner, acme):
    await store_daily(database, acme, 6)
    await Compaction(owner, merge_after_secs=0, pace=at_once).run(now_millis=NOON_MILLIS - 4 * DAY_MILLIS, place={})
    assert await partitions(owner) == names("merged", 14, 15, 16) + names("segment", *range(14, 21))
    done = await expire(owner, days=4)
    # At noon of the 20th, the 16th has not expired as a whole.
    assert (done.partitions_dropped, done.fixes) == (4, 20)
    assert await partitions(owner) == names("merged", 16) + names("segment", *range(16, 21))
    assert len(await fixes_of(owner)) == 50
    assert await owner.fetch("SELECT FROM pg_class WHERE relname ~ '_d2025111[45]' AND relkind = 'r'") == []
    assert (await expire(owner, days=4)).partitions_dropped == 0


async def test_rows_of_a_tenant_that_keeps_less_are_deleted_a_few_at_a_time(database, owner, acme, rival, monkeypatch):
    monkeypatch.setattr(fix_expiry, "ROWS_AT_ONCE", 2)
    await store_daily(database, acme, 9)
    await store_daily(database, rival, 9)
    await Compaction(owner, merge_after_secs=0, pace=at_once).run(now_millis=NOON_MILLIS - 6 * DAY_MILLIS, place={})
    await set_retention(owner, "acme", 3)
    paced = []

    async def pace(_):
        paced.append(True)
        return True

    done = await expire(owner, days=0, pace=pace)
    # Of the fixes of the 17th, at noon, the margin keeps those of the last hour.
    assert (done.partitions_dropped, done.fixes) == (0, 60)
    assert len(paced) > 3
    kept = [row[0] for row in await fixes_of(owner)]
    assert (kept.count("acme"), kept.count("rival")) == (40, 100)
    # Once the rival keeps only five days, their partitions go.
    await set_retention(owner, "rival", 5)
    assert (await expire(owner, days=0)).partitions_dropped == 2 * 4
    kept = [row[0] for row in await fixes_of(owner)]
    assert (kept.count("acme"), kept.count("rival")) == (40, 60)


async def test_a_round_ends_when_its_time_is_over(database, owner, acme, rival, monkeypatch):
    monkeypatch.setattr(fix_expiry, "ROWS_AT_ONCE", 1)
    await store_daily(database, acme, 9)
    await set_retention(owner, "acme", 3)

    async def stop(_):
        return False

    place = {}
    done = [await Expiry(owner, retention_days=0, pace=stop).run(now_millis=NOON_MILLIS, place=place) for _ in range(3)]
    # Each goes on where the one before ended, with one transaction.
    assert [each.fixes for each in done] == [10, 0, 10]
    assert place["partition"][1].startswith("track_segment_d20251112")
    assert (await expire(owner, days=0)).fixes == 40


async def test_rows_of_a_partition_that_is_expiring_go_with_its_hours(database, owner, acme, rival):
    """Also those of the tenant that keeps its fixes the longest: they do not wait for the day's end."""
    async with writing(database, acme.tenant_id) as write:
        for hour in range(24):
            start = NOON_MILLIS - 5 * DAY_MILLIS + (hour - 12) * 3_600_000
            await write.store(acme.device_ids[0], at(range(start, start + 1_800_000, 60_000)))
    for now_hours, left in ((0, 24), (1, 24), (2, 23), (12, 13), (24, 1)):
        midnight_millis = NOON_MILLIS - DAY_MILLIS // 2
        await expire(owner, days=5, now_millis=midnight_millis + now_hours * 3_600_000)
        assert await owner.fetchval("SELECT count(*) FROM track_segment") == left
    assert (await expire(owner, days=5, now_millis=midnight_millis + 25 * 3_600_000)).partitions_dropped == 1


async def test_a_month_is_expired_by_its_rows_too(database, owner, acme):
    start_millis = int(datetime(2020, 3, 1, tzinfo=UTC).timestamp() * 1000)
    async with writing(database, acme.tenant_id) as write:
        for midnight in range(start_millis, start_millis + 31 * DAY_MILLIS, DAY_MILLIS):
            await write.store(acme.device_ids[0], at(range(midnight, midnight + 10)))
    done = await expire(owner, days=100, now_millis=start_millis + 110 * DAY_MILLIS + 3_600_000 + 1_000)
    assert (done.partitions_dropped, done.fixes) == (0, 110)
    assert len(await fixes_of(owner)) == 200


async def test_a_partition_in_use_is_dropped_later_and_ingest_does_not_wait(database, owner, acme):
    await store_daily(database, acme, 6)
    reader = await asyncpg.connect(database)
    async with reader.transaction():
        assert await reader.fetchval("SELECT count(*) FROM fix") == 70
        await owner.execute("SET lock_timeout = '300ms'")
        expiring = asyncio.create_task(expire(owner, days=4))
        async with writing(database, acme.tenant_id) as write, asyncio.timeout(5):
            for second in range(20):
                assert await write.store(acme.device_ids[0], at([NOON_MILLIS + 1_000 * second + 500])) == (1, 0)
                await asyncio.sleep(0.02)
        assert (await expiring).partitions_dropped == 0
    await reader.close()
    # One was left half detached; it is finished now, and so are the others.
    assert await owner.fetchval("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 1
    assert (await expire(owner, days=4)).partitions_dropped == 2
    assert len(await fixes_of(owner)) == 50 + 20


async def test_workers_know_a_retention_within_a_minute(database, owner, acme, rival, monkeypatch):
    assert retention.FRESH_SECS == 60.0
    monkeypatch.setattr(retention, "FRESH_SECS", 0.2)
    pool = await open_pool(database, "fleetwire_ingest")
    known = Retention(pool, default_days=30)
    await known.load()
    known.start()
    try:
        before = [known.earliest_millis(fleet.tenant_id, NOON_MILLIS) for fleet in (acme, rival)]
        assert before == [NOON_MILLIS - 30 * DAY_MILLIS] * 2
        await set_retention(owner, "acme", 7)
        await set_retention(owner, "rival", 0)
        async with asyncio.timeout(20):
            while known.earliest_millis(rival.tenant_id, NOON_MILLIS):
                await asyncio.sleep(0.01)
        after = [known.earliest_millis(fleet.tenant_id, NOON_MILLIS) for fleet in (acme, rival)]
        assert after == [NOON_MILLIS - 7 * DAY_MILLIS, 0]
    finally:
        await known.stop()
        pool.terminate()


async def test_what_was_known_stays_true_while_the_database_is_away(database, acme, monkeypatch):
    pool = await open_pool(database, "fleetwire_ingest")
    known = Retention(pool, default_days=2)
    await known.load()
    pool.terminate()
    monkeypatch.setattr(retention, "FRESH_SECS", 0.0)
    failures_before = failures_by_task["retention"]
    known.start()
    async with asyncio.timeout(20):
        while failures_by_task["retention"] < failures_before + 2:
            await asyncio.sleep(0.01)
    assert known.earliest_millis(acme.tenant_id, NOON_MILLIS) == NOON_MILLIS - 2 * DAY_MILLIS
    await known.stop()


@pytest.mark.parametrize(("days", "code"), [(-1, "retention_invalid"), (36_501, "retention_invalid"), (2**40, None)])
async def test_a_retention_that_cannot_be_is_refused(owner, acme, days, code):
    with pytest.raises(Problem) as caught:
        await set_retention(owner, "acme", days)
    assert caught.value.code == (code or "retention_invalid")
    with pytest.raises(Problem, match="no tenant"):
        await set_retention(owner, "nobody", 5)


def test_the_margin_is_longer_than_a_worker_is_out_of_date():
    assert timedelta(seconds=retention.FRESH_SECS) * 10 < fix_expiry.MARGIN


@pytest.mark.parametrize("ahead_days", [20, 400, -400])
async def test_a_clock_that_is_wrong_expires_nothing(database, owner, acme, monkeypatch, ahead_days):
    """The fixes are of yesterday and kept for ten days; neither round nor door may take them for old."""
    right_millis = clock.now_millis()
    yesterday = at(range(right_millis - DAY_MILLIS, right_millis - DAY_MILLIS + 10))
    async with writing(database, acme.tenant_id) as write:
        await write.store(acme.device_ids[0], yesterday)
    monkeypatch.setattr(clock, "now_millis", lambda: right_millis + ahead_days * DAY_MILLIS)
    done = await run_once(database, Settings(retention_days=10, event_retention_days=10))
    assert (done.expired.partitions_dropped, done.expired.fixes) == (0, 0)
    assert len(await fixes_of(owner)) == 10
    pool = await open_pool(database, "fleetwire_ingest", max_size=1)
    known = Retention(pool, default_days=10)
    await known.load()
    assert known.earliest_millis(acme.tenant_id, clock.now_millis()) <= right_millis - 9 * DAY_MILLIS
    await known.stop()
    pool.terminate()


async def test_the_earlier_clock_counts_and_a_difference_is_said(owner, capsys):
    right_millis = clock.now_millis()
    agreed = [await agreed_millis(owner, now_millis=right_millis + days * DAY_MILLIS) for days in (0, 2, -2)]
    assert abs(agreed[1] - right_millis) < 60_000
    assert (agreed[0] <= right_millis, agreed[2]) == (True, right_millis - 2 * DAY_MILLIS)
    told = capsys.readouterr().out
    assert told.count("clocks of server and database differ") == 2


async def test_recent_batches_are_dropped_from_memory_when_a_retention_changes(database, owner, acme):
    changes = []
    pool = await open_pool(database, "fleetwire_ingest")
    try:
        retention = Retention(pool, default_days=0, on_changed=lambda: changes.append(1))
        await retention.load()
        assert changes == []
        await owner.execute("UPDATE tenant SET retention_days = 3 WHERE tenant_id = $1", acme.tenant_id)
        await retention.load()
        await retention.load()
        assert changes == [1], "fixes that were deleted may be sent again"
    finally:
        await pool.close()
