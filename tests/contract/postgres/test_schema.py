"""The schema keeps the rules that let it be distributed, and shows fixes in the units of the wire."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fleetwire.postgres.statements import TRACK_SEGMENT_COLUMNS

NOON = datetime(2025, 11, 22, 12, tzinfo=UTC)
TENANT_TABLES = """
SELECT c.oid, c.relname, c.relrowsecurity FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname
"""


async def test_every_table_of_a_tenant_has_row_level_security(owner):
    await owner.execute("SELECT ensure_partition('2025-11-22')")
    rows = await owner.fetch(TENANT_TABLES)
    names = {row["relname"] for row in rows}
    assert {"tenant", "device", "live_position", "track_segment", "app_user", "credential", "session"} < names
    assert [row["relname"] for row in rows if not row["relrowsecurity"]] == []


async def test_tenant_id_leads_every_key_and_no_table_has_triggers(owner):
    keys = await owner.fetch("""
        SELECT conrelid::regclass::text AS name, contype, a.attname
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        WHERE contype IN ('p', 'u', 'f')
            AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = k.conrelid AND t.attname = 'tenant_id')
    """)
    # The tenant itself is a table that every node has a copy of.
    assert {row["name"] for row in keys if row["attname"] != "tenant_id"} <= {"tenant"}
    assert len(keys) > 10
    assert await owner.fetch("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
    assert await owner.fetch("SELECT attname FROM pg_attribute WHERE attidentity <> ''") == []


async def test_no_function_is_open_to_everybody(owner):
    open_functions = await owner.fetch("""
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prosecdef AND has_function_privilege('public', oid, 'EXECUTE')
    """)
    assert open_functions == []


async def test_the_copy_columns_are_the_columns_of_the_table(owner):
    columns = await owner.fetchval("""
        SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 'track_segment'::regclass AND attnum > 0
    """)
    assert tuple(columns) == TRACK_SEGMENT_COLUMNS


async def insert_segment(connection, fleet, **changes):
    values = {
        "tenant_id": fleet.tenant_id,
        "fix_count": 3,
        "device_id": fleet.device_ids[0],
        "first_at": NOON,
        "last_at": NOON + timedelta(milliseconds=2001),
        "received_at": NOON + timedelta(seconds=5),
        "offset_millis": [0, 1000, 2001],
        "lat_e7": [481371540, -900000000, 1],
        "lon_e7": [115761240, -1800000000, -1],
    } | changes
    names = ", ".join(values)
    packed = {"offset_millis", "lat_e7", "lon_e7", "altitude_dm"}
    places = ", ".join(
        f"packed(${number})" if name in packed else f"${number}" for number, name in enumerate(values, start=1)
    )
    await connection.execute("SELECT ensure_partition('2025-11-22')")
    await connection.execute(f"INSERT INTO track_segment ({names}) VALUES ({places})", *values.values())


async def test_the_view_shows_fixes_in_the_units_of_the_wire(owner, acme):
    await insert_segment(
        owner,
        acme,
        altitude_dm=[5190, None, -123],
        speed_cmps=[1340, 0, None],
        heading_cdeg=[-8900, -18000, 17999],
        accuracy_dm=[50, 32767, 0],
    )
    rows = [dict(row) for row in await owner.fetch("SELECT * FROM fix ORDER BY fixed_at")]
    assert list(rows[0]) == [
        "tenant_id", "tenant", "device", "fixed_at", "latitude", "longitude", "accuracy", "altitude", "heading",
        "speed", "battery", "received_at",
    ]  # fmt: skip
    first = rows[0]
    assert (first["tenant_id"], first["tenant"], first["device"]) == (acme.tenant_id, "acme", "truck-1")
    assert [row["fixed_at"] - NOON for row in rows] == [timedelta(milliseconds=millis) for millis in (0, 1000, 2001)]
    assert [row["latitude"] for row in rows] == [48.137154, -90.0, 1e-7]
    assert [row["longitude"] for row in rows] == [11.576124, -180.0, -1e-7]
    assert [row["heading"] for row in rows] == pytest.approx([271.0, 180.0, 179.99])
    assert [row["altitude"] for row in rows] == [519.0, None, pytest.approx(-12.3)]
    assert [row["speed"] for row in rows] == [pytest.approx(13.4), 0.0, None]
    assert [row["accuracy"] for row in rows] == pytest.approx([5.0, 3276.7, 0.0])
    assert [row["battery"] for row in rows] == [None, None, None]
    assert first["received_at"] == NOON + timedelta(seconds=5)


async def test_headings_run_from_0_to_less_than_360(owner, acme):
    await insert_segment(owner, acme, heading_cdeg=[0, -1, 1])
    headings = [row["heading"] for row in await owner.fetch("SELECT heading FROM fix ORDER BY fixed_at")]
    assert headings == pytest.approx([0.0, 359.99, 0.01])


@pytest.mark.parametrize(
    "fault",
    [
        {"lat_e7": [1, 2]},
        {"battery_permille": [1, 2, 3, 4]},
        {"fix_count": 4},
        {"last_at": NOON + timedelta(hours=12)},
        {"last_at": NOON - timedelta(seconds=1)},
    ],
)
async def test_a_malformed_segment_is_refused(owner, acme, fault):
    with pytest.raises(asyncpg.CheckViolationError):
        await insert_segment(owner, acme, **fault)


async def test_the_same_segment_cannot_be_stored_twice(owner, acme):
    await insert_segment(owner, acme)
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert_segment(owner, acme)
