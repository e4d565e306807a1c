"""What exactly-once rests on: locks in one order, watermarks that only rise, late spans found exactly."""

import asyncio
import json
import random
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from fleetwire._core import Decoder, Group, Recent, TrackWriter
from fleetwire.postgres import statements
from fleetwire.postgres.row_arrays import accept_row_arrays

INGEST = statements.load("store/ingest")
TRACK_PAGE = statements.load("store/track")["track_page"]
DAY_MILLIS = 86_400_000
BASE_DAY = date(2020, 5, 20)
BASE_MILLIS = int(datetime(2020, 5, 20, tzinfo=UTC).timestamp() * 1000)


def text(values):
    """An array as the statements take it."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def at(millis):
    return datetime.fromtimestamp(millis / 1000, UTC)


async def store_group(connection, fleet, device_ids, known_millis, *, segments=(), positions=()):
    tenant_ids = [fleet.tenant_id] * len(device_ids)
    arrays = map(text, (tenant_ids, device_ids, known_millis))
    return await connection.fetchval(INGEST["store_group"], *arrays, list(segments), list(positions))


async def move(connection, fleet, device_id, fixed_at_millis, lat_e7=1):
    """Moves a device, by whatever watermark it has."""
    position = (
        fleet.tenant_id, device_id, at(fixed_at_millis), lat_e7, 2, None, 3, None, 4, None, at(fixed_at_millis + 1),
    )  # fmt: skip
    known_millis = [None]
    while answer := await store_group(connection, fleet, [device_id], known_millis, positions=[position]):
        known_millis = answer


async def watermarks(connection, fleet, device_ids):
    tenant_ids = [fleet.tenant_id] * len(device_ids)
    answers = await connection.fetchval(INGEST["lock_group"], text(tenant_ids), text(device_ids))
    return list(zip(sorted(device_ids), answers, strict=True))


async def live_latitude(connection, device_id):
    return await connection.fetchval("SELECT lat_e7 FROM live_position WHERE device_id = $1", device_id)


async def test_lock_group_answers_in_the_order_of_the_key(ingest, acme):
    first, second, third, *_ = acme.device_ids
    await move(ingest, acme, second, BASE_MILLIS + 123)
    assert await watermarks(ingest, acme, [third, first, second]) == [
        (first, None),
        (second, BASE_MILLIS + 123),
        (third, None),
    ]


async def test_lock_group_locks_in_the_order_of_the_key_and_reads_what_it_waited_for(owner, ingest, acme):
    first, second, *_ = acme.device_ids
    async with owner.transaction():
        await move(owner, acme, first, BASE_MILLIS)

        async def wait_for_the_group():
            async with ingest.transaction():
                return await watermarks(ingest, acme, [second, first])

        waiting = asyncio.create_task(wait_for_the_group())
        await asyncio.sleep(0.3)
        assert not waiting.done()
        # It waits for the first device, so that it must not hold the second yet.
        await owner.execute("SELECT FROM live_position WHERE device_id = $1 FOR UPDATE NOWAIT", second)
    assert await waiting == [(first, BASE_MILLIS), (second, None)]


async def test_the_live_position_moves_forward_only(ingest, acme):
    device_id = acme.device_ids[0]
    for fixed_at_millis, lat_e7, expected in [
        (BASE_MILLIS, 10, 10),
        (BASE_MILLIS - 1, 20, 10),
        (BASE_MILLIS, 30, 10),
        (BASE_MILLIS + 1, 40, 40),
    ]:
        await move(ingest, acme, device_id, fixed_at_millis, lat_e7=lat_e7)
        assert await live_latitude(ingest, device_id) == expected
    rows = await ingest.fetch(statements.load("live/live")["load_live"], None)
    [moved] = [row for row in rows if row["fixed_at_millis"] is not None]
    assert tuple(moved) == (
        acme.tenant_id, device_id, "truck-1", BASE_MILLIS + 1, 40, 2, None, 3, None, 4, None,
    )  # fmt: skip
    assert len(rows) == len(acme.device_ids)


async def test_senders_at_once_leave_the_newest_position(database, ingest, acme):
    device_id = acme.device_ids[0]
    times = [BASE_MILLIS + offset for offset in range(40)]
    random.Random(7).shuffle(times)
    async with asyncpg.create_pool(
        database, min_size=8, max_size=8, server_settings={"role": "fleetwire_ingest"}
    ) as pool:
        await asyncio.gather(*(move(pool, acme, device_id, millis, lat_e7=millis - BASE_MILLIS) for millis in times))
    assert await live_latitude(ingest, device_id) == 39


async def test_by_other_watermarks_nothing_is_stored(ingest, acme):
    first, second, *_ = acme.device_ids
    await move(ingest, acme, second, BASE_MILLIS)
    later = BASE_MILLIS + 5
    await ingest.fetch(INGEST["ensure_days"], [BASE_DAY])
    packed = await ingest.fetchval("SELECT packed('{0}')")
    segments = [
        (acme.tenant_id, 1, device_id, at(later), at(later), at(later), packed, packed, packed, *[None] * 5)
        for device_id in (first, second)
    ]
    positions = [(acme.tenant_id, device_id, at(later), 7, 7, *[None] * 5, at(later)) for device_id in (first, second)]
    group = {"segments": segments, "positions": positions}
    for known_millis in ([None, None], [BASE_MILLIS, BASE_MILLIS], [None, BASE_MILLIS - 1], [None]):
        answer = await store_group(ingest, acme, [first, second], known_millis, **group)
        assert answer == [None, BASE_MILLIS]
        assert await ingest.fetchval("SELECT count(*) FROM track_segment") == 0
        assert await live_latitude(ingest, first) is None
    assert await store_group(ingest, acme, [first, second], [None, BASE_MILLIS], **group) is None
    assert await ingest.fetchval("SELECT count(*) FROM track_segment") == 2
    assert await watermarks(ingest, acme, [first, second]) == [(first, later), (second, later)]


async def test_rows_that_the_core_renders_are_what_the_database_reads(ingest, acme):
    """By every member, present and absent, and by the driver, which must hand the bytes on as they are."""
    device_ids = acme.device_ids[:2]
    whole = {"accuracy": 5.0, "altitude": 519.0, "heading": 271.0, "speed": 13.4, "battery": 0.8}
    fixes = [
        [{"timestamp": BASE_MILLIS + second, "latitude": 48.1 + second, "longitude": -11.5, **members}
         for second, members in enumerate(each)]
        for each in ([whole, {}, whole], [{}])
    ]  # fmt: skip
    decoder = Decoder(max_fixes=10, future_millis=0)
    batches = [
        decoder.json(json.dumps({"fixes": each}).encode(), now_millis=BASE_MILLIS + 9, earliest_millis=0)
        for each in fixes
    ]
    await ingest.fetch(INGEST["ensure_days"], [BASE_DAY])
    group = Group([(acme.tenant_id, *each) for each in zip(device_ids, batches, strict=True)])
    sealed = group.seal(
        last_fixed_millis=[None, None],
        stored=[],
        recent=Recent(max_fixes=0),
        received_at_millis=BASE_MILLIS + 9,
        row_types=await accept_row_arrays(ingest),
    )
    answer = await ingest.fetchval(
        INGEST["store_group"], *group.devices(), sealed.newest, sealed.segments, sealed.positions
    )
    assert answer is None
    rows = await ingest.fetch(
        "SELECT device_id, fix_count, first_at, last_at, received_at, unpacked(offset_millis) AS offsets, "
        "unpacked(lat_e7) AS lats, unpacked(lon_e7) AS lons, unpacked(altitude_dm) AS altitudes, speed_cmps, "
        "heading_cdeg, accuracy_dm, battery_permille FROM track_segment ORDER BY device_id"
    )
    first, last, received = at(BASE_MILLIS), at(BASE_MILLIS + 2), at(BASE_MILLIS + 9)
    assert [tuple(row) for row in rows] == [
        (device_ids[0], 3, first, last, received, [0, 1, 2], [481_000_000, 491_000_000, 501_000_000],
         [-115_000_000] * 3, [5190, None, 5190], [1340, None, 1340], [-8900, None, -8900], [50, None, 50],
         [800, None, 800]),
        (device_ids[1], 1, first, first, received, [0], [481_000_000], [-115_000_000], *[None] * 5),
    ]  # fmt: skip
    positions = await ingest.fetch("SELECT * FROM live_position WHERE lat_e7 IS NOT NULL ORDER BY device_id")
    assert [tuple(row)[:11] for row in positions] == [
        (acme.tenant_id, device_ids[0], last, 501_000_000, -115_000_000, 5190, 1340, -8900, 50, 800, received),
        (acme.tenant_id, device_ids[1], first, 481_000_000, -115_000_000, *[None] * 5, received),
    ]


async def test_most_moves_stay_on_their_page(owner, ingest, acme):
    for second in range(50):
        await move(ingest, acme, acme.device_ids[0], BASE_MILLIS + second * 1000)
    await ingest.execute("SELECT pg_stat_force_next_flush()")
    await ingest.fetchval("SELECT 1")
    await asyncio.sleep(0.1)
    counts = await owner.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'live_position'"
    )
    # The key changes with every 32nd move.
    assert (counts["n_tup_upd"], counts["n_tup_hot_upd"]) == (50, 49)


async def store(connection, fleet, device_id, first_millis, offsets):
    first_at = at(first_millis)
    await connection.execute(
        """
        INSERT INTO track_segment
            (tenant_id, fix_count, device_id, first_at, last_at, received_at, offset_millis, lat_e7, lon_e7)
        VALUES ($1, $2, $3, $4, $5, now(), packed($6), packed($6), packed($6))
        """,
        fleet.tenant_id, len(offsets), device_id, first_at, first_at + timedelta(milliseconds=offsets[-1]), offsets,
    )  # fmt: skip


def ints(sent):
    """What record_send() made of packed times, as the core reads it."""
    track = TrackWriter(format="csv", device="a", from_millis=0, to_millis=DAY_MILLIS)
    text = track.push(0, sent, sent, sent, None, None, None, None, None) + track.finish()
    return [int(line.split(b",")[1]) for line in text.splitlines()[1:]]


@pytest.fixture
async def history(ingest, acme):
    """Segments of two devices over five days of an old month and three of this one, some overlapping each other."""
    chance = random.Random(11)
    recent_day = datetime.now(UTC).date() - timedelta(days=10)
    recent_millis = int(datetime.combine(recent_day, datetime.min.time(), UTC).timestamp() * 1000)
    days = [BASE_MILLIS + day * DAY_MILLIS for day in range(5)] + [recent_millis + day * DAY_MILLIS for day in range(3)]
    await ingest.fetch(INGEST["ensure_days"], [BASE_DAY, *(recent_day + timedelta(days=day) for day in range(3))])
    segments = []
    for device_id in acme.device_ids[:2]:
        for day_millis in days:
            for _ in range(30):
                first_millis = day_millis + chance.randrange(DAY_MILLIS)
                length = min(chance.randrange(3 * 3_600_000), day_millis + DAY_MILLIS - 1 - first_millis)
                offsets = sorted({0, *(chance.randrange(length + 1) for _ in range(5)), length})
                segments.append((device_id, first_millis, offsets))
                await store(ingest, acme, *segments[-1])
    return days, segments


async def test_late_rows_finds_what_overlaps_once_and_nothing_else(ingest, acme, rival, history):
    days, segments = history
    chance = random.Random(13)
    devices = acme.device_ids[:3]
    for _ in range(20):
        spans = []
        for _ in range(12):
            day_millis, offset_millis = chance.choice(days), chance.randrange(DAY_MILLIS)
            length_millis = chance.randrange(DAY_MILLIS - offset_millis)
            from_millis = day_millis + offset_millis
            spans.append((chance.choice(devices), from_millis, from_millis + length_millis))
        # The ends of a span belong to it.
        device_id, first_millis, offsets = chance.choice(segments)
        spans.append((device_id, first_millis + offsets[-1], first_millis + offsets[-1]))
        spans.append((device_id, first_millis, first_millis))
        found = await ingest.fetch(
            INGEST["late_rows"],
            [acme.tenant_id] * len(spans),
            *(list(column) for column in zip(*spans, strict=True)),
        )
        expected = {
            (device_id, first_millis, tuple(offsets))
            for device_id, from_millis, to_millis in spans
            for segment_device, first_millis, offsets in segments
            if segment_device == device_id and first_millis <= to_millis and first_millis + offsets[-1] >= from_millis
        }
        assert sorted((row[1], row[2], tuple(ints(row["offset_millis"]))) for row in found) == sorted(expected)
        assert {row["tenant_id"] for row in found} == {acme.tenant_id}
        assert {row["step_millis"] for row in found} == {None}
        assert (
            await ingest.fetch(INGEST["late_rows"], [rival.tenant_id], [device_id], [first_millis], [first_millis + 1])
            == []
        )


async def test_of_a_full_regular_row_the_step_stands_for_the_times(owner, ingest, acme):
    """And of no other one: neither with one irregular fix, nor with a gap, nor of another length."""
    await owner.execute("SELECT ensure_partition($1)", BASE_DAY)
    await owner.execute("SELECT ensure_merged_partition('track_segment_m202005')")
    regular = [0, *[1] * 3599]
    rows = [regular, [*regular[:-1], 2], [*regular[:1800], 2, *regular[1801:]], regular[:-1], [*regular, 1]]
    for hour, steps in enumerate(rows):
        await owner.execute(
            "INSERT INTO track_merged (tenant_id, fix_count, device_id, first_at, last_at, received_at, offset_millis, "
            "lat_e7, lon_e7) "
            "SELECT $1, $2, $3, $4::timestamptz, $4::timestamptz + $5 * interval '1 second', now(), p, p, p "
            "FROM (SELECT ROW(0, 1000, $6::int2[], NULL)::packed_int4 AS p) AS packed",
            acme.tenant_id,
            len(steps),
            acme.device_ids[0],
            at(BASE_MILLIS + hour * 7_200_000),
            sum(steps),
            steps,
        )
    found = await ingest.fetch(
        INGEST["late_rows"], [acme.tenant_id], [acme.device_ids[0]], [BASE_MILLIS], [BASE_MILLIS + DAY_MILLIS - 1]
    )
    assert [row["step_millis"] for row in found] == [1000, None, None, None, None]
    assert [row["offset_millis"] is None for row in found] == [True, False, False, False, False]
    assert [row["fix_count"] for row in found] == [len(steps) for steps in rows]
    assert [sum(ints(row["offset_millis"])[1:2]) for row in found[1:]] == [1000] * 4


async def scans(connection):
    """Scans of each partition by this session, so far: (sequential, by index)."""
    rows = await connection.fetch("""
        SELECT relname, seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relname LIKE 'track_segment_%'
    """)
    return {row["relname"]: (row["seq_scan"], row["idx_scan"]) for row in rows}


async def test_late_rows_reads_the_key_of_the_partitions_in_question_only(ingest, acme, history):
    days, _ = history
    device_id = acme.device_ids[0]
    old, recent = days[2] + DAY_MILLIS // 2, days[-1] + DAY_MILLIS // 2
    async with ingest.transaction():
        before = await scans(ingest)
        # Enough spans that the planner would rather read whole partitions; and a plan that is kept for later calls must
        # be as narrow as the first.
        froms = [begin + offset for begin in (old, recent) for offset in range(200)]
        for _ in range(8):
            await ingest.fetch(
                INGEST["late_rows"],
                [acme.tenant_id] * 400,
                [device_id] * 400,
                froms,
                [begin + 1 for begin in froms],
            )
        after = await scans(ingest)
        # What the planner opens it locks: it leaves out the others before it looks at them.
        locked = await ingest.fetch(
            "SELECT DISTINCT relation::regclass::text AS name FROM pg_locks "
            "WHERE pid = pg_backend_pid() AND relation::regclass::text ~ '^track_segment_[dm][0-9]+$'"
        )
    more = {name: (seq - before[name][0], by_key - before[name][1]) for name, (seq, by_key) in after.items()}
    recent_name = f"track_segment_d{datetime.fromtimestamp(recent / 1000, UTC):%Y%m%d}"
    assert {name for name, counts in more.items() if any(counts)} == {"track_segment_m202005", recent_name}
    assert {row["name"] for row in locked} == {"track_segment_m202005", recent_name}
    assert all(seq == 0 for seq, _ in more.values())


async def test_a_track_comes_page_by_page_in_order(ingest, acme, history):
    _, segments = history
    device_id = acme.device_ids[1]
    from_millis, to_millis = BASE_MILLIS + DAY_MILLIS // 2, BASE_MILLIS + 3 * DAY_MILLIS
    expected = sorted(
        (first_millis, offsets)
        for segment_device, first_millis, offsets in segments
        if segment_device == device_id and first_millis <= to_millis and first_millis + offsets[-1] >= from_millis
    )
    found, after_millis = [], None
    while page := await ingest.fetch(TRACK_PAGE, acme.tenant_id, device_id, from_millis, to_millis, after_millis, 7):
        found += [(row["first_at_millis"], ints(row["offset_millis"])) for row in page]
        assert all(row["altitude_dm"] is None for row in page)
        after_millis = page[-1]["first_at_millis"]
    assert found == expected
    assert len(found) > 14
