"""Upkeep touches one partition at a time, and what it leaves behind is small."""

import re
from datetime import UTC, datetime, timedelta

import asyncpg

from fleetwire.settings import Settings
from fleetwire.store.maintenance.compaction import Compaction
from fleetwire.store.maintenance.fix_expiry import Expiry
from fleetwire.store.maintenance.job import at_once
from fleetwire.store.maintenance.rounds import run_once
from fleetwire.store.tenant_erasure import erase
from fleetwire.store.tenants import set_retention
from harness.writing import at, fixes_of

DAY = datetime(2025, 11, 20, tzinfo=UTC)
DAY_MILLIS = int(DAY.timestamp() * 1000)
HOUR_MILLIS = 3_600_000
MAX_BYTES_PER_FIX = 12
OVER_ALL = re.compile(r"\b(?:FROM|USING|INTO|UPDATE)\s+(?:ONLY\s+)?track_(?:segment|merged)\b")
# A second's walk of some metres, with all that a phone measures.
SINGLES = """
INSERT INTO track_segment
SELECT $1, 1, $2, moment.at, moment.at, moment.at + interval '1 second', packed('{0}'),
    packed(ARRAY[(481371540 + sin(second / 900.0) * 1e6 + hashint8(second) % 80)::int]),
    packed(ARRAY[(115761240 + cos(second / 900.0) * 1e6 + hashint8(second + 7) % 80)::int]),
    packed(ARRAY[5190 + hashint8(second / 5) % 20]),
    ARRAY[(1300 + hashint8(second / 2) % 200)::int2], ARRAY[((second * 10 + hashint8(second) % 90) % 18000)::int2],
    ARRAY[(50 + hashint8(second / 4) % 10)::int2], ARRAY[(900 - second / 600)::int2]
FROM generate_series(0, 86399) AS second
CROSS JOIN LATERAL (SELECT $3::timestamptz + second * interval '1 second' AS at) AS moment
"""


async def test_expiry_merging_and_erasing_plan_over_no_other_partition(database, owner, acme, rival, write):
    for day in range(4):
        start = DAY_MILLIS + day * 24 * HOUR_MILLIS
        await write.store_in_batches(acme.device_ids[0], at(range(start, start + 20_000, 1_000)), 1)
    await set_retention(owner, "acme", 2)
    await set_retention(owner, "rival", 0)
    queries = []
    # One connection each, as none has anything prepared.
    for act in (
        lambda one: Compaction(one, merge_after_secs=0, pace=at_once).run(now_millis=DAY_MILLIS + 30 * HOUR_MILLIS),
        lambda one: Expiry(one, retention_days=0, pace=at_once).run(now_millis=DAY_MILLIS + 100 * HOUR_MILLIS),
        lambda one: erase(one, "acme"),
    ):
        connection = await asyncpg.connect(database)
        connection.add_query_logger(lambda record: queries.append(record.query))
        await act(connection)
        await connection.close()
    assert await fixes_of(owner) == []
    assert len([query for query in queries if "track_segment_d202511" in query]) > 10
    assert [query for query in queries if OVER_ALL.search(query)] == []


async def test_a_day_of_single_fixes_takes_at_most_twelve_bytes_each(database, owner, acme):
    """At 1 Hz, merged while the day is open and once it is over; with the indexes and the partition that was left."""
    await owner.execute("SELECT ensure_partition($1)", DAY.date())
    for device in acme.device_ids[:2]:
        await owner.execute(SINGLES, acme.tenant_id, device, DAY)
    # Every device sent its last fixes long ago, and each hour had been over for two.
    for hours in (5, 14):
        await Compaction(owner, merge_after_secs=7200, pace=at_once).run(now_millis=DAY_MILLIS + hours * HOUR_MILLIS)
    done = await run_once(database, Settings())
    assert done.merged.fixes > 0
    assert await owner.fetchval("SELECT sum(fix_count) FROM track_merged") == 2 * 86_400
    assert await owner.fetchval("SELECT count(*) FROM track_segment") == 0
    await owner.execute("VACUUM track_segment, track_merged")
    size = await owner.fetchval(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname ~ '^track_(segment|merged)_d20251120$'"
    )
    assert size / (2 * 86_400) <= MAX_BYTES_PER_FIX
    times = await owner.fetchrow("SELECT min(fixed_at), max(fixed_at), count(DISTINCT fixed_at) FROM fix")
    assert tuple(times) == (DAY, DAY + timedelta(seconds=86_399), 86_400)
