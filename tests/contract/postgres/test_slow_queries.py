"""What an operator sees of statements: the request they work for, and the plan of a slow one."""

import asyncio

import pytest
import structlog.testing

from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire, open_pool, tenant_transaction
from fleetwire.postgres.slow_queries import SlowQueries, generic_plan
from fleetwire.runtime import request_id

NAME = "SELECT current_setting('application_name')"


@pytest.fixture
async def pool(database):
    opened = await open_pool(database, "fleetwire_app", 1, 2)
    yield opened
    await opened.close()


async def test_a_connection_is_named_by_the_request_it_works_for(pool, acme):
    async def work(scope):
        request_id.begin(scope)
        async with tenant_transaction(pool, acme.tenant_id) as connection:
            return await connection.fetchval(NAME)

    named = await asyncio.create_task(work({"headers": [(b"x-request-id", b"proxy-4711")]}))
    assert named == "fleetwire proxy-4711"
    long = await asyncio.create_task(work({"headers": [(b"x-request-id", b"a" * 64)]}))
    assert long == "fleetwire " + "a" * 53
    for connection in [await pool.acquire() for _ in range(2)]:
        assert await connection.fetchval(NAME) == "fleetwire"
        await pool.release(connection)


@pytest.mark.parametrize(
    "path",
    ["access/access", "access/accounts/audit", "access/accounts/session", "access/accounts/user", "store/track"],
)
async def test_a_statement_is_explained_without_being_run(database, path):
    opened = await open_pool(database, "fleetwire_app", 1, 1)
    try:
        for name, sql in statements.load(path).items():
            if name in {"ensure_tenant", "ensure_device", "find_tenant"} or "signing_key" in name or "retired" in name:
                continue  # The owner's.
            plan = await generic_plan(opened, sql)
            assert "cost=" in plan[0], name
        async with acquire(opened) as connection:
            assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE from_sql") == 0
    finally:
        await opened.close()


async def test_a_slow_statement_is_logged_by_name_and_explained_once(database, acme):
    slow = SlowQueries("app", over_secs=0.0)
    slow.pool = await open_pool(database, "fleetwire_app", 1, 2, on_query=[slow.look])
    find = statements.load("access/accounts/session")["list_of_user"]
    try:
        with structlog.testing.capture_logs() as logged:
            for _ in range(3):
                async with tenant_transaction(slow.pool, acme.tenant_id) as connection:
                    await connection.fetch(find, acme.tenant_id, 424_242)
            async with asyncio.timeout(20):
                while not any(line["event"] == "The plan of a slow statement." for line in logged):
                    await asyncio.sleep(0.02)
        named = [line for line in logged if line.get("statement") == "session.list_of_user"]
        assert [line["event"] for line in named].count("A statement was slow.") == 3
        assert slow.slow >= 3
        assert "424242" not in str(logged)
    finally:
        await slow.stop()
        slow.pool.terminate()
