"""Partitions: a day for the present, a month for old archives, made once however many ask."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from fleetwire.errors import Overloaded
from fleetwire.postgres import statements
from fleetwire.store import backfill
from harness.fixes import now_millis
from harness.writing import at

ENSURE_DAYS = statements.load("store/ingest")["ensure_days"]


def today():
    return datetime.now(UTC).date()


def months_back(count):
    """The first day of the month `count` months ago."""
    months = today().year * 12 + today().month - 1 - count
    return date(months // 12, months % 12 + 1, 1)


async def partitions(connection):
    rows = await connection.fetch("""
        SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds
        FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = 'track_segment'::regclass
    """)
    return {row["relname"]: row["bounds"] for row in rows}


async def test_today_and_tomorrow_get_a_day_each(ingest):
    days = [today(), today() + timedelta(days=1)]
    await ingest.fetch(ENSURE_DAYS, days)
    await ingest.fetch(ENSURE_DAYS, days)
    assert sorted(await partitions(ingest)) == [f"track_segment_d{day:%Y%m%d}" for day in days]


async def test_bounds_are_utc_days_whatever_the_session_thinks(ingest):
    await ingest.execute("SET timezone = 'Pacific/Auckland'; SET datestyle = 'SQL, DMY'")
    await ingest.fetch(ENSURE_DAYS, [today(), date(2011, 3, 31)])
    await ingest.execute("SET timezone = 'UTC'; SET datestyle = 'ISO'")
    assert await partitions(ingest) == {
        f"track_segment_d{today():%Y%m%d}": (
            f"FOR VALUES FROM ('{today()} 00:00:00+00') TO ('{today() + timedelta(days=1)} 00:00:00+00')"
        ),
        "track_segment_m201103": "FOR VALUES FROM ('2011-03-01 00:00:00+00') TO ('2011-04-01 00:00:00+00')",
    }


async def test_a_month_more_than_13_months_back_gets_one_partition(ingest):
    old, edge = months_back(14), months_back(13)
    await ingest.fetch(ENSURE_DAYS, [old, old + timedelta(days=20), edge, edge + timedelta(days=20)])
    assert sorted(await partitions(ingest)) == [
        f"track_segment_d{edge:%Y%m%d}",
        f"track_segment_d{edge + timedelta(days=20):%Y%m%d}",
        f"track_segment_m{old:%Y%m}",
    ]


async def test_an_old_month_that_has_days_gets_another_day(owner, ingest):
    old = months_back(20)
    await owner.execute(f"""
        CREATE TABLE track_segment_d{old:%Y%m%d} PARTITION OF track_segment
        FOR VALUES FROM ('{old} 00:00+00') TO ('{old + timedelta(days=1)} 00:00+00')
    """)
    await ingest.fetch(ENSURE_DAYS, [old + timedelta(days=9)])
    assert sorted(await partitions(ingest)) == [
        f"track_segment_d{old:%Y%m%d}",
        f"track_segment_d{old + timedelta(days=9):%Y%m%d}",
    ]


async def test_fifty_sessions_that_ask_at_once_make_one_partition(database, ingest):
    async with asyncpg.create_pool(
        database, min_size=50, max_size=50, server_settings={"role": "fleetwire_ingest"}
    ) as pool:
        await asyncio.gather(*(pool.fetch(ENSURE_DAYS, [today(), date(2015, 5, 5)]) for _ in range(50)))
    assert sorted(await partitions(ingest)) == [f"track_segment_d{today():%Y%m%d}", "track_segment_m201505"]


async def test_making_a_partition_waits_for_no_writer_and_no_reader(owner, ingest):
    await ingest.fetch(ENSURE_DAYS, [today()])
    async with owner.transaction():
        await owner.execute("LOCK TABLE track_segment IN ROW EXCLUSIVE MODE")
        await owner.fetch("SELECT * FROM fix")
        await ingest.execute("SET lock_timeout = '1s'")
        await ingest.fetch(ENSURE_DAYS, [today() + timedelta(days=1)])
    assert len(await partitions(ingest)) == 2


@pytest.mark.parametrize("day", [date(1999, 12, 31), date(2999, 1, 1)])
async def test_a_day_that_no_fix_may_have_is_refused(ingest, day):
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no place in the history"):
        await ingest.fetch(ENSURE_DAYS, [day])


DAY_MILLIS = 86_400_000
SINCE_2000_MILLIS = 946_684_800_000


async def test_a_batch_with_a_fix_a_day_since_2000_is_stored_in_some_tries(ingest, acme, write):
    """Each try makes some more partitions, each in a transaction of its own; meanwhile others do not wait."""
    noons = at(range(SINCE_2000_MILLIS + DAY_MILLIS // 2, now_millis() - DAY_MILLIS, DAY_MILLIS))
    loop = asyncio.get_running_loop()
    slowest_secs, tries = 0.0, 0
    sending = None
    while True:
        if sending is None:
            sending = asyncio.ensure_future(write.store(acme.device_ids[0], noons))
            tries += 1
        began_secs = loop.time()
        await write.store(acme.device_ids[1], at([now_millis()]))
        # A device's first fix of a day that has no partition yet, as at midnight.
        await ingest.execute("SET lock_timeout = '1s'")
        await ingest.fetch(ENSURE_DAYS, [today() + timedelta(days=tries + 1)])
        slowest_secs = max(slowest_secs, loop.time() - began_secs)
        await asyncio.sleep(0.02)
        if sending.done():
            if sending.exception() is None:
                break
            with pytest.raises(Overloaded, match="timestamp_spread"):
                await sending
            sending = None
    assert await sending == (len(noons), 0)
    months = len(await partitions(ingest)) - tries
    assert months > 650
    # Some were there before, or made by the last try.
    assert tries > months // backfill.MAX_PARTITIONS - 2
    assert slowest_secs < 1


async def test_partitions_that_cannot_be_made_hold_up_no_other_batch(owner, acme, write):
    """Somebody keeps the lock under which they are made: those who need none do not wait for it."""
    day_millis = now_millis() - 30 * DAY_MILLIS
    async with owner.transaction():
        await owner.execute("LOCK TABLE track_segment IN SHARE UPDATE EXCLUSIVE MODE")
        late = asyncio.ensure_future(write.store(acme.device_ids[0], at([day_millis])))
        async with asyncio.timeout(2):
            for _ in range(5):
                together = [write.store(device_id, at([now_millis()])) for device_id in acme.device_ids[1:]]
                assert await asyncio.gather(*together) == [(1, 0)] * 4
                await asyncio.sleep(0.01)
        assert not late.done()
    async with asyncio.timeout(9):
        assert await late == (1, 0), "it was waiting in the backfill"
