"""Who sees what. The ingest role appends and moves; the app role sees one tenant, and without one nothing."""

import asyncio
import gc
from datetime import UTC, datetime

import asyncpg
import pytest

from fleetwire.errors import ConfigError
from fleetwire.postgres.pool import acquire, open_pool, tenant_transaction
from fleetwire.postgres.statements import TRACK_SEGMENT_COLUMNS

NOON = datetime(2025, 11, 22, 12, tzinfo=UTC)
TABLES = [
    "tenant",
    "device",
    "live_position",
    "track_segment",
    "track_merged",
    "app_user",
    "credential",
    "session",
    "audit_log",
    "event",
    "event_counter",
    "order_device",
    "fix",
]


def segment(fleet):
    return (
        fleet.tenant_id, 1, fleet.device_ids[0], NOON, NOON, NOON, *((base, 1, [0], None) for base in range(3)),
        None, None, None, None, None,
    )  # fmt: skip


@pytest.fixture
async def filled(owner, ingest, acme, rival):
    """Two tenants with a row in every table."""
    await ingest.execute("SELECT ensure_partition('2025-11-22')")
    for fleet in (acme, rival):
        await ingest.copy_records_to_table("track_segment", records=[segment(fleet)], columns=TRACK_SEGMENT_COLUMNS)
        user_id = await owner.fetchval(
            "INSERT INTO app_user (tenant_id, name, role) VALUES ($1, 'eva', 'dispatcher') RETURNING user_id",
            fleet.tenant_id,
        )
        await owner.execute(
            "INSERT INTO credential (tenant_id, kind, token_hash) VALUES ($1, 'ingest', sha256($2))",
            fleet.tenant_id,
            str(fleet.tenant_id).encode(),
        )
        await owner.execute(
            "INSERT INTO session (tenant_id, session_id, user_id, expires_at)"
            " VALUES ($1, gen_random_uuid(), $2, now())",
            fleet.tenant_id,
            user_id,
        )
        await owner.execute(
            "INSERT INTO audit_log (tenant_id, actor, action, subject) VALUES ($1, 'eva', 'user.create', 'emil')",
            fleet.tenant_id,
        )
        await owner.execute("INSERT INTO event_counter (tenant_id, seq) VALUES ($1, 1)", fleet.tenant_id)
        await owner.execute(
            "INSERT INTO event (tenant_id, seq, room, kind, payload, actor, occurred_at, recorded_at)"
            " VALUES ($1, 1, 'dispatch', 'message', '{}', 'eva', now(), now())",
            fleet.tenant_id,
        )
        await owner.execute(
            "INSERT INTO order_device (tenant_id, order_name, device_id) VALUES ($1, 'load-7', $2)",
            fleet.tenant_id,
            fleet.device_ids[0],
        )
        await owner.execute("SELECT ensure_merged_partition('track_segment_d20251122')")
        await owner.execute(
            """
            INSERT INTO track_merged
                (tenant_id, fix_count, device_id, first_at, last_at, received_at, offset_millis, lat_e7, lon_e7)
            VALUES ($1, 1, $2, $3, $3, $3, '(0,1,{0},)', '(1,1,{0},)', '(2,1,{0},)')
            """,
            fleet.tenant_id,
            fleet.device_ids[1],
            NOON,
        )
    return acme, rival


@pytest.mark.parametrize("table", TABLES)
async def test_the_app_role_sees_one_tenant_and_without_one_nothing(app, filled, table):
    acme, _ = filled
    assert await app.fetch(f"SELECT tenant_id FROM {table}") == []
    async with app.transaction():
        await app.execute("SELECT set_tenant($1)", acme.tenant_id)
        assert {row["tenant_id"] for row in await app.fetch(f"SELECT tenant_id FROM {table}")} == {acme.tenant_id}
    # The setting ends with the transaction, and leaves '' behind rather than null.
    assert await app.fetch(f"SELECT tenant_id FROM {table}") == []


async def test_the_app_role_cannot_write_for_another_tenant(app, filled):
    acme, rival = filled
    async with app.transaction():
        await app.execute("SELECT set_tenant($1)", acme.tenant_id)
        assert await app.execute("UPDATE app_user SET status = 'disabled'") == "UPDATE 1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await app.execute(
                "INSERT INTO app_user (tenant_id, name, role) VALUES ($1, 'mallory', 'admin')", rival.tenant_id
            )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM track_segment",
        "DELETE FROM track_merged",
        "DELETE FROM event",
        "UPDATE event SET actor = 'x'",
        "UPDATE live_position SET lat_e7 = 0",
        "INSERT INTO device (tenant_id, name) VALUES (1, 'x')",
        "SELECT * FROM signing_key",
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "SELECT * FROM track_segment_d20251122",
        "SELECT * FROM create_devices(1, '{x}')",
        "SELECT ensure_partition('2025-11-23')",
        "SELECT * FROM track_merged_d20251122",
        "SELECT ensure_merged_partition('track_segment_d20251122')",
    ],
)
@pytest.mark.usefixtures("filled")
async def test_the_app_role_may_not(app, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM track_segment",
        "UPDATE track_segment SET fix_count = 1",
        "DELETE FROM track_merged",
        "DELETE FROM live_position",
        "SELECT * FROM app_user",
        "SELECT * FROM credential",
        "SELECT * FROM audit_log",
        "SELECT * FROM event",
        "SELECT * FROM signing_keys()",
    ],
)
@pytest.mark.usefixtures("filled")
async def test_the_ingest_role_may_not(ingest, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ingest.execute(statement)


@pytest.mark.usefixtures("filled")
async def test_the_ingest_role_copies_and_moves_for_all_tenants(ingest):
    assert await ingest.fetchval("SELECT count(DISTINCT tenant_id) FROM track_segment") == 2
    assert await ingest.execute("UPDATE live_position SET lat_e7 = 1") == "UPDATE 10"


async def test_copy_is_refused_to_the_app_role(app, filled):
    acme, _ = filled
    with pytest.raises(asyncpg.PostgresError):
        await app.copy_records_to_table("track_segment", records=[segment(acme)], columns=TRACK_SEGMENT_COLUMNS)


async def test_what_must_be_found_before_the_tenant_is_known(app, owner, filled):
    acme, _ = filled
    found = await app.fetch("SELECT * FROM find_credential(sha256($1))", str(acme.tenant_id).encode())
    assert [(row["tenant_id"], row["tenant"], row["tenant_status"], row["kind"]) for row in found] == [
        (acme.tenant_id, "acme", "active", "ingest")
    ]
    assert await app.fetch("SELECT * FROM find_credential(sha256('no such token'))") == []
    login = await app.fetchrow("SELECT * FROM find_login('acme', 'eva')")
    assert (login["tenant_id"], login["role"], login["status"]) == (acme.tenant_id, "dispatcher", "active")
    assert await app.fetchrow("SELECT * FROM find_login('rival', 'nobody')") is None
    await owner.execute("INSERT INTO signing_key (kid, secret) VALUES ('k1', sha256('secret'))")
    assert [row["kid"] for row in await app.fetch("SELECT * FROM signing_keys()")] == ["k1"]


async def test_a_pool_acts_as_its_role_after_every_use(database, filled):
    acme, _ = filled
    pool = await open_pool(database, "fleetwire_app", 1, 1)
    try:
        async with tenant_transaction(pool, acme.tenant_id) as connection:
            assert await connection.fetchval("SELECT count(*) FROM fix") == 2
        async with pool.acquire() as connection:
            await connection.execute("SET ROLE none")
            await connection.execute("RESET ROLE")
            assert await connection.fetchval("SELECT current_user") == "fleetwire_app"
            assert await connection.fetchval("SELECT count(*) FROM fix") == 0
            assert await connection.fetchval("SHOW statement_timeout") == "30s"
    finally:
        await pool.close()


async def test_a_cancelled_transaction_leaves_no_tenant_behind(database, filled):
    acme, _ = filled
    pool = await open_pool(database, "fleetwire_app", 1, 1)
    try:
        with pytest.raises(RuntimeError):
            async with tenant_transaction(pool, acme.tenant_id):
                raise RuntimeError
        async with pool.acquire() as connection:
            assert await connection.fetch("SELECT * FROM device") == []
    finally:
        await pool.close()


async def test_giving_back_a_connection_while_its_pool_ends_leaves_no_unseen_failure(database):
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

    async def use(pool):
        async with acquire(pool):
            pass

    for turns in range(12):  # Some of them end in the middle of the reset.
        pool = await open_pool(database, "fleetwire_app", max_size=1)
        using = asyncio.ensure_future(use(pool))
        for _ in range(turns):
            await asyncio.sleep(0)
        using.cancel()
        await asyncio.wait([using])
        pool.terminate()
        await asyncio.sleep(0.05)
    gc.collect()  # Only then is a failure that nobody asked for told.
    assert failures == []


async def test_a_pool_is_refused_when_receipts_would_not_hold(database, owner):
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(ConfigError, match="synchronous_commit=off"):
        await open_pool(database, "fleetwire_ingest")


async def test_a_pool_on_a_database_without_the_role_says_so(database):
    with pytest.raises(ConfigError, match="migrated"):
        await open_pool(database, "fleetwire_nobody")
