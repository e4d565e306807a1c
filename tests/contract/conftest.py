"""What the tests of the schema have in common."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from fleetwire.postgres import statements
from harness.writing import Writing, writing


@dataclass(frozen=True, slots=True)
class Fleet:
    """A tenant with devices."""

    tenant_id: int
    device_ids: list[int]


@pytest.fixture
async def owner(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def ingest(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database, server_settings={"role": "fleetwire_ingest"})
    yield connection
    await connection.close()


@pytest.fixture
async def app(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database, server_settings={"role": "fleetwire_app"})
    yield connection
    await connection.close()


async def _fleet(owner: asyncpg.Connection, name: str) -> Fleet:
    tenant_id = await owner.fetchval("INSERT INTO tenant (name) VALUES ($1) RETURNING tenant_id", name)
    names = [f"truck-{number}" for number in range(1, 6)]
    rows = await owner.fetch(statements.load("store/device")["create_devices"], tenant_id, names)
    return Fleet(tenant_id, sorted(row["device_id"] for row in rows))


@pytest.fixture
async def acme(owner: asyncpg.Connection) -> Fleet:
    return await _fleet(owner, "acme")


@pytest.fixture
async def rival(owner: asyncpg.Connection) -> Fleet:
    return await _fleet(owner, "rival")


@pytest.fixture
async def write(database: str, acme: Fleet) -> AsyncIterator[Writing]:
    """Stores fixes of the first company's devices."""
    async with writing(database, acme.tenant_id) as each:
        yield each
