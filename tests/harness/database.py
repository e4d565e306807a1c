"""Databases of a test's own, and what is stored in them, read as an outsider reads it: through the view `fix`."""

import asyncio
import secrets
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import asyncpg

T = TypeVar("T")


class Stored(NamedTuple):
    """A row of the view `fix`: degrees in units of 1e-7."""

    device: str
    millis: int
    lat_e7: int
    lon_e7: int


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine where there may or may not be a loop already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def execute(dsn: str, statement: str, *values: Any) -> None:
    """Runs one statement over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


async def rows(dsn: str, statement: str, *values: Any) -> list[asyncpg.Record]:
    """All rows of one statement over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


@contextmanager
def temporary_database(server_dsn: str, template: str) -> Iterator[str]:
    """The owner's DSN of a copy of `template`."""
    name = f"fleetwire_test_{secrets.token_hex(6)}"
    run(execute(server_dsn, f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield urlsplit(server_dsn)._replace(path=f"/{name}").geturl()
    finally:
        run(execute(server_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


# Held from lock_group on, while the next statement is on its way.
_HOLDING_ROWS = """
SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.relation = 'live_position'::regclass AND l.mode = 'RowShareLock' AND l.granted AND a.wait_event = 'ClientRead'
"""


async def until_rows_are_held(dsn: str, *, within_secs: float) -> None:
    """Waits for a commit that has locked its devices' rows and has its next statement yet to come."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(within_secs):
            while not await connection.fetch(_HOLDING_ROWS):
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


_STORED = """
SELECT device, (extract(epoch FROM fixed_at) * 1000)::bigint, round(latitude * 1e7)::int, round(longitude * 1e7)::int
FROM fix WHERE tenant = $1
"""


async def stored(dsn: str, tenant: str) -> list[Stored]:
    """Every stored fix of a tenant, as often as it is there."""
    return [Stored(*row) for row in await rows(dsn, _STORED, tenant)]


async def stored_times(dsn: str, tenant: str, device: str | None = None) -> list[int]:
    """The times of a tenant's fixes in ms since 1970, ascending, as often as they are there."""
    found = await stored(dsn, tenant)
    return sorted(each.millis for each in found if device in {None, each.device})
