"""Merging keeps every fix, once, whatever happens at the same time."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fleetwire.postgres.pool import open_pool
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.store import tracks
from fleetwire.store.maintenance import compact_device
from fleetwire.store.maintenance.compact_device import FULL_FIXES
from fleetwire.store.maintenance.compaction import Compaction
from fleetwire.store.maintenance.rounds import exclusive
from harness.fixes import now_millis
from harness.writing import at, fixes_of, writing

DAY = datetime(2025, 11, 20, tzinfo=UTC)
DAY_MILLIS = int(DAY.timestamp() * 1000)
HOUR_MILLIS = 3_600_000
TWO_DAYS_LATER = DAY_MILLIS + 48 * HOUR_MILLIS


async def at_once(_):
    return True


async def merge(connection, *, now_millis=TWO_DAYS_LATER, place=None):
    compaction = Compaction(connection, merge_after_secs=7200, pace=at_once)
    return await compaction.run(now_millis=now_millis, place=place)


async def segments(owner):
    return await owner.fetchrow(
        "SELECT (SELECT count(*) FROM track_segment) AS small, (SELECT count(*) FROM track_merged) AS merged"
    )


async def test_a_closed_day_becomes_few_rows_and_its_partition_gives_back_its_space(owner, acme, write):
    first, second, *_ = acme.device_ids
    await write.store_in_batches(first, at(range(DAY_MILLIS, DAY_MILLIS + 8_000_000, 2_000)), 50)
    await write.store_in_batches(second, at(range(DAY_MILLIS + 77, DAY_MILLIS + 60_000, 777)), 1)
    before = await fixes_of(owner)
    done = await merge(owner)
    assert await fixes_of(owner) == before
    assert (done.fixes, done.segments_before, done.segments_after) == (4000 + 78, 80 + 78, 2 + 1)
    assert done.partitions_emptied == 1
    assert await owner.fetchval("SELECT pg_table_size('track_segment_d20251120') < 10000")
    assert await owner.fetchval("SELECT max(fix_count) FROM track_merged") == 2000 < FULL_FIXES
    # Nothing is left to do.
    assert (await merge(owner)).segments_before == 0


async def test_the_packed_form_is_read_by_plain_sql(owner):
    values = await owner.fetch("""
        SELECT unpacked(packed) AS numbers FROM (VALUES
            ('(500,100,"{0,-3,NULL,2}",)'::packed_int4),
            ('(2147483647,1,"{0,1,0}","{0,0,1}")'),
            ('(-5,7,"{NULL,0}","{0,0}")'),
            (NULL)
        ) AS v (packed)
    """)
    assert [row["numbers"] for row in values] == [
        [500, 200, None, 400],
        [2147483647, -2147483648, -2147483648 + 65536],
        [None, -5],
        None,
    ]


async def test_a_fix_that_is_merged_is_a_duplicate_and_a_late_one_is_stored(owner, acme, write):
    device = acme.device_ids[0]
    times = range(DAY_MILLIS, DAY_MILLIS + 600_000, 1_000)
    await write.store_in_batches(device, at(times[::2]), 20)
    await merge(owner)
    assert await write.store(device, at(times)) == (300, 300)
    assert await write.store(device, at(times)) == (0, 600)
    await merge(owner)
    assert await write.store(device, at(times)) == (0, 600)
    assert [row[2] for row in await fixes_of(owner)] == [DAY + timedelta(seconds=second) for second in range(600)]
    # The late ones were merged with the small row of before.
    assert tuple(await segments(owner)) == (0, 1)


async def test_of_an_open_day_full_rows_are_packed_and_rows_of_one_become_one_an_hour(owner, acme, write):
    rare, often, few, *_ = acme.device_ids
    await write.store_in_batches(rare, at(range(DAY_MILLIS, DAY_MILLIS + 5 * HOUR_MILLIS, 200_000)), 1)
    await write.store_in_batches(often, at(range(DAY_MILLIS, DAY_MILLIS + 5 * HOUR_MILLIS, 5_000)), 100)
    await write.store_in_batches(few, at(range(DAY_MILLIS, DAY_MILLIS + 5 * HOUR_MILLIS, HOUR_MILLIS)), 1)
    before = await fixes_of(owner)
    place = {}
    # At half past five, the hours before three o'clock have been over for two hours.
    half_past_five = DAY_MILLIS + 11 * HOUR_MILLIS // 2
    await merge(owner, now_millis=half_past_five, place=place)
    assert await fixes_of(owner) == before
    counts = await owner.fetch("SELECT device_id, fix_count FROM track_segment ORDER BY device_id, first_at")
    of = {device: [row["fix_count"] for row in counts if row["device_id"] == device] for device in (rare, often, few)}
    assert of == {rare: [18, 18, 18] + 36 * [1], often: 14 * [100], few: 5 * [1]}
    assert await owner.fetchval("SELECT array_agg(fix_count) FROM track_merged") == [2200]
    # The same hour is not gone through twice, and the end of the day finds everything.
    assert (await merge(owner, now_millis=half_past_five + 60_000, place=place)).segments_before == 0
    await merge(owner, place=place)
    assert await fixes_of(owner) == before
    assert tuple(await segments(owner)) == (0, 1 + 1 + 2)


async def test_a_device_that_is_being_written_to_is_left_for_the_next_round(owner, ingest, acme, write):
    busy, idle, *_ = acme.device_ids
    for device in (busy, idle):
        await write.store_in_batches(device, at(range(DAY_MILLIS, DAY_MILLIS + 30_000, 1_000)), 3)
    before = await fixes_of(owner)
    async with ingest.transaction():
        await ingest.fetch("SELECT * FROM lock_group($1, $2)", [acme.tenant_id], [busy])
        done = await merge(owner)
        assert (done.devices_skipped, done.segments_before, done.segments_after) == (1, 10, 1)
        assert await fixes_of(owner) == before
    assert (await merge(owner)).segments_before == 10
    assert await fixes_of(owner) == before


async def test_what_cannot_be_right_stays_as_it_is(owner, acme, write):
    wrong, right, *_ = acme.device_ids
    for device in (wrong, right):
        await write.store_in_batches(device, at(range(DAY_MILLIS, DAY_MILLIS + 30_000, 1_000)), 3)
    # No writer does this: a time that another row has, too.
    await owner.execute(
        "UPDATE track_segment SET offset_millis = packed('{0,1000,3000}') WHERE device_id = $1 AND first_at = $2",
        wrong,
        DAY,
    )
    before = await fixes_of(owner)
    done = await merge(owner)
    assert (done.devices_skipped, done.segments_before) == (1, 10)
    assert await fixes_of(owner) == before


class Dying:
    """A connection that the server ends at its n-th statement."""

    def __init__(self, connection, killer, statements):
        self._connection = connection
        self._killer = killer
        self.left = statements

    def transaction(self, **options):
        return self._connection.transaction(**options)

    def __getattr__(self, name):
        method = getattr(self._connection, name)

        async def call(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                await self._killer.fetch("SELECT pg_terminate_backend($1, 5000)", self._connection.get_server_pid())
            return await method(*arguments, **options)

        return call


async def test_a_crash_at_any_point_leaves_what_was_or_what_is(database, owner, acme, write):
    device = acme.device_ids[0]
    before = None
    for died_at in range(1, 40):
        # Something to merge, and something merged to merge it with.
        offset_millis = died_at * 60_000
        await write.store_in_batches(
            device, at(range(DAY_MILLIS + offset_millis, DAY_MILLIS + offset_millis + 30_000, 1_000)), 10
        )
        before = await fixes_of(owner)
        assert len(before) == 30 * died_at
        connection = await asyncpg.connect(database)
        dying = Dying(connection, owner, died_at)
        with contextlib.suppress(*TRANSIENT):
            await merge(dying)
        connection.terminate()
        assert await fixes_of(owner) == before
        if dying.left > 0:
            break
    else:
        pytest.fail("it never came to the end")
    assert died_at > 10
    assert tuple(await segments(owner)) == (0, 1)


@pytest.mark.parametrize("seed", range(3))
async def test_every_fix_is_there_once_whatever_is_merged_meanwhile(database, owner, acme, seed):
    chance = random.Random(seed)
    devices = acme.device_ids[:3]
    span = range(DAY_MILLIS - 2 * HOUR_MILLIS, DAY_MILLIS + 4 * HOUR_MILLIS, 1_000)
    sent = {device: set() for device in devices}
    stored = dict.fromkeys(devices, 0)
    writers_done = asyncio.Event()

    async def send(write):
        for _ in range(60):
            device = chance.choice(devices)
            start = chance.randrange(len(span) - 200)
            times = chance.sample(span[start : start + 200], chance.choice([1, 1, 5, 50]))
            sent[device].update(times)
            fresh, _ = await write.store(device, at(times))
            stored[device] += fresh
            if chance.random() < 0.3:
                await asyncio.sleep(0.005)

    async def merge_all_the_time():
        rounds = 0
        while not writers_done.is_set() or not rounds:
            with contextlib.suppress(*TRANSIENT):
                async with exclusive(database) as connection:
                    # First as if the day were open, then as if it were over.
                    await merge(connection, now_millis=DAY_MILLIS + chance.randrange(2, 7) * HOUR_MILLIS)
                    await merge(connection)
            rounds += 1

    async def kill_now_and_then():
        while not writers_done.is_set():
            await asyncio.sleep(chance.uniform(0.05, 0.2))
            await owner.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'fleetwire upkeep' AND datname = current_database()"
            )

    async with writing(database, acme.tenant_id) as one, writing(database, acme.tenant_id) as other:
        background = asyncio.gather(merge_all_the_time(), kill_now_and_then())
        await asyncio.gather(*(send(write) for write in (one, other, one, other)))
        writers_done.set()
        await background
    await merge(owner)
    found = await owner.fetch("SELECT device, fixed_at, latitude FROM fix ORDER BY device, fixed_at")
    expected = [
        (f"truck-{number}", millis, each["latitude"])
        for number, device in enumerate(devices, start=1)
        for millis, each in zip(sorted(sent[device]), at(sorted(sent[device])), strict=True)
    ]
    assert [(row[0], round(row[1].timestamp() * 1000), pytest.approx(row[2])) for row in found] == expected
    assert stored == {device: len(times) for device, times in sent.items()}
    assert (await segments(owner))["small"] == 0


@pytest.mark.parametrize("merge_after_pieces", [1, 2, 3, 5])
async def test_a_track_has_each_fix_once_though_segments_are_merged_between_its_pages(
    database, owner, acme, write, monkeypatch, merge_after_pieces
):
    monkeypatch.setattr(tracks, "FIRST_PAGE_SEGMENTS", 4)
    monkeypatch.setattr(tracks, "PAGE_SEGMENTS", 4)
    device = acme.device_ids[0]
    times = list(range(DAY_MILLIS, DAY_MILLIS + 100_000, 1_000))
    # Slices that reach into one another, as late fixes do.
    await write.store(device, at(times[-5:]))
    await write.store(device, at(times[0:90:9]))
    for start in range(0, 95, 7):
        await write.store(device, at(times[start : start + 7]))
    pool = await open_pool(database, "fleetwire_app")
    lines, pieces = [], 0
    try:
        async for piece in tracks.stream(
            pool, tenant_id=acme.tenant_id, device_id=device, device="truck-1", from_millis=times[3],
            to_millis=times[-2], form="csv",
        ):  # fmt: skip
            lines += piece.decode().splitlines()
            pieces += 1
            if pieces == merge_after_pieces:
                assert (await merge(owner)).segments_after == 1
                assert await write.store(device, at([times[-1] + 5])) == (1, 0)
            elif pieces == merge_after_pieces + 1:
                await merge(owner)
    finally:
        pool.terminate()
    assert pieces > merge_after_pieces
    assert [int(line.split(",")[1]) for line in lines[1:]] == times[3:-1]


async def test_a_long_merge_goes_on_where_it_stopped(owner, acme, write, monkeypatch):
    monkeypatch.setattr(compact_device, "FIXES_AT_ONCE", 25)
    monkeypatch.setattr(compact_device, "ROWS_AT_ONCE", 7)
    await write.store_in_batches(acme.device_ids[0], at(range(DAY_MILLIS, DAY_MILLIS + 500_000, 1_000)), 5)
    before = await fixes_of(owner)
    done = await merge(owner)
    assert (done.segments_before >= 100, done.fixes >= 500) == (True, True)
    assert await fixes_of(owner) == before
    assert (await segments(owner))["small"] == 0


async def test_an_older_snapshot_sees_every_fix_though_the_partition_was_emptied(database, owner, acme, write):
    await write.store_in_batches(acme.device_ids[0], at(range(DAY_MILLIS, DAY_MILLIS + 100_000, 1_000)), 5)
    reader = await asyncpg.connect(database)
    async with reader.transaction(isolation="repeatable_read"):
        assert await reader.fetchval("SELECT count(*) FROM device") == 5
        done = await merge(owner)
        assert (done.segments_before, done.partitions_emptied) == (20, 0)
        assert len(await fixes_of(reader)) == 100
    await reader.close()
    assert (await merge(owner)).partitions_emptied == 1
    assert len(await fixes_of(owner)) == 100


async def test_what_still_grows_is_left_alone(owner, acme, write):
    growing, quiet, *_ = acme.device_ids
    for device in (growing, quiet):
        await write.store_in_batches(device, at(range(DAY_MILLIS, DAY_MILLIS + 30_000, 1_000)), 3)
    await owner.execute("UPDATE track_segment SET received_at = $1 WHERE device_id = $2", DAY, quiet)
    compaction = Compaction(owner, merge_after_secs=0, pace=at_once, quiet_secs=600)
    assert (await compaction.run(now_millis=now_millis(), place={})).segments_before == 10
    assert await owner.fetchval("SELECT count(*) FROM track_segment WHERE device_id = $1", growing) == 10
    compaction = Compaction(owner, merge_after_secs=0, pace=at_once, quiet_secs=600)
    assert (await compaction.run(now_millis=now_millis() + 601_000, place={})).segments_before == 10
