"""Migrations: once each, in order, by one process at a time, by owners with few rights too."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from fleetwire.errors import ConfigError
from fleetwire.postgres import migrate as module
from fleetwire.postgres.migrate import Migration, migrate, migrations

KNOWN = migrations()
NAMES = [migration.name for migration in KNOWN]


def test_names_are_numbered_each_its_own():
    numbers = [int(re.match(r"(\d{4})_[a-z_]+\.sql$", name)[1]) for name in NAMES]
    assert numbers == sorted(set(numbers))


async def test_an_empty_database_gets_all_and_then_nothing(empty_database):
    assert await migrate(empty_database) == NAMES
    assert await migrate(empty_database) == []


async def test_processes_at_once_apply_each_migration_once(empty_database):
    applied = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == NAMES


async def test_databases_of_one_cluster_may_migrate_at_once(empty_database, second_empty_database):
    both = await asyncio.gather(migrate(empty_database), migrate(second_empty_database))
    assert both == [NAMES, NAMES]


async def test_an_edited_migration_is_refused(empty_database, monkeypatch):
    await migrate(empty_database)
    first, *rest = KNOWN
    monkeypatch.setattr(module, "migrations", lambda: [Migration(first.name, first.sql + "-- edited\n"), *rest])
    with pytest.raises(ConfigError, match=f"{NAMES[0]} was edited"):
        await migrate(empty_database)


async def test_a_newer_database_is_refused(empty_database, monkeypatch):
    await migrate(empty_database)
    monkeypatch.setattr(module, "migrations", lambda: KNOWN[:-1])
    with pytest.raises(ConfigError, match=f"{NAMES[-1]}, which this version does not know"):
        await migrate(empty_database)


async def test_a_failing_migration_leaves_nothing_and_keeps_those_before(empty_database, monkeypatch):
    broken = Migration("9999_broken.sql", "CREATE TABLE half_done (); SELECT 1 / 0;")
    monkeypatch.setattr(module, "migrations", lambda: [*KNOWN, broken])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database)
    connection = await asyncpg.connect(empty_database)
    try:
        assert await connection.fetchval("SELECT to_regclass('half_done')") is None
        assert await connection.fetchval("SELECT count(*) FROM schema_migration") == len(NAMES)
    finally:
        await connection.close()


@pytest.fixture
async def plain_owner_dsn(postgres_dsn: str, empty_database: str) -> AsyncIterator[str]:
    """A database whose owner is neither superuser nor may create roles. The roles exist already or are made here."""
    await migrate(empty_database)
    name = f"fleetwire_test_{secrets.token_hex(6)}"
    superuser = await asyncpg.connect(postgres_dsn)
    await superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'plain'")
    await superuser.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0 ENCODING 'UTF8'")
    parts = urlsplit(postgres_dsn)
    address = parts.netloc.rpartition("@")[2]
    yield parts._replace(netloc=f"{name}:plain@{address}", path=f"/{name}").geturl()
    await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await superuser.execute(f"DROP ROLE {name}")
    await superuser.close()


async def test_an_owner_without_the_roles_is_told_what_to_run(plain_owner_dsn):
    name = urlsplit(plain_owner_dsn).path[1:]
    with pytest.raises(ConfigError, match=f"run once: GRANT fleetwire_ingest TO {name};"):
        await migrate(plain_owner_dsn)


async def test_an_owner_with_the_roles_needs_to_be_no_superuser(plain_owner_dsn, postgres_dsn):
    name = urlsplit(plain_owner_dsn).path[1:]
    superuser = await asyncpg.connect(postgres_dsn)
    await superuser.execute(f"GRANT fleetwire_ingest, fleetwire_app TO {name}")
    await superuser.close()
    assert await migrate(plain_owner_dsn) == NAMES
    connection = await asyncpg.connect(plain_owner_dsn, server_settings={"role": "fleetwire_ingest"})
    try:
        await connection.execute("RESET ROLE")
        await connection.execute("SET ROLE none")
        await connection.execute("INSERT INTO tenant (name) VALUES ('acme')")
        await connection.execute("SET ROLE fleetwire_ingest")
        assert len(await connection.fetch("SELECT * FROM create_devices(1, '{a,b}')")) == 2
        await connection.execute("SELECT ensure_partition((now() AT TIME ZONE 'UTC')::date)")
        assert len(await connection.fetch("SELECT * FROM lock_group('{1,1}', '{1,2}')")) == 2
    finally:
        await connection.close()


@pytest.fixture
async def second_empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    name = f"fleetwire_test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    yield urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
