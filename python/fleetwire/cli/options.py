"""Options that several commands share, and how a command reaches the database."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import asyncpg
from cyclopts import Parameter

from fleetwire.settings import Settings

T = TypeVar("T")

DataDir = Annotated[Path | None, Parameter(help="Folder of the embedded PostgreSQL (default: fleetwire-data).")]
DatabaseUrl = Annotated[str | None, Parameter(help="DSN of a PostgreSQL 15 to 18, instead of the embedded one.")]
Host = Annotated[str | None, Parameter(help="Address to listen on (default: 127.0.0.1).")]
Port = Annotated[int | None, Parameter(help="TCP port to listen on (default: 8000).")]
Tenant = Annotated[str, Parameter(help="The company; created if it is missing.")]
Json = Annotated[bool, Parameter(name="--json", negative="", env_var=[], help="Print JSON.")]
Url = Annotated[str, Parameter(help="Address of the server.")]


@contextlib.contextmanager
def owner_dsn(data_dir: Path | None, database_url: str | None) -> Iterator[str]:
    """The owner's DSN: of the database given, or of the embedded one, which is started for as long if it is not up."""
    from fleetwire.postgres.embedded.server import borrow

    settings = Settings.from_env(data_dir=data_dir, database_url=database_url)
    if settings.database_url is not None:
        yield settings.database_url
    else:
        with borrow(settings.data_dir) as dsn:
            yield dsn


async def bring_up(dsn: str) -> list[str]:
    """Migrates the database that a command works on; the names of what was applied."""
    from fleetwire.postgres.migrate import migrate

    return await migrate(dsn, connect_timeout_secs=Settings.from_env().connect_timeout_secs)


def as_owner(data_dir: DataDir, database_url: DatabaseUrl, act: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Acts on a migrated database over a connection of its owner."""

    async def run(dsn: str) -> T:
        await bring_up(dsn)
        connection = await asyncpg.connect(dsn)
        try:
            return await act(connection)
        finally:
            await connection.close()

    with owner_dsn(data_dir, database_url) as dsn:
        return asyncio.run(run(dsn))
