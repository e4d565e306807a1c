"""Brings a database to the schema of this version: numbered SQL files, each once, in order.

The ledger `schema_migration` keeps the SHA-256 of what was applied. A migration is never edited afterwards: two
databases with the same ledger have the same schema, whenever they were made.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import asyncpg
import structlog

from fleetwire.errors import ConfigError, FleetwireError
from fleetwire.postgres import statements
from fleetwire.settings import CONNECT_TIMEOUT_SECS

OLDEST_SERVER_VERSION = 150000
"""PostgreSQL 15: views with security_invoker."""

_log = structlog.get_logger(__name__)

_SQL = statements.load("postgres/migration")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Of the text, in hexadecimal digits."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations of this version, in order."""
    folder = files(__package__).joinpath("migrations")
    entries = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [Migration(entry.name, entry.read_text(encoding="utf-8")) for entry in entries]


async def migrate(dsn: str, *, connect_timeout_secs: float = CONNECT_TIMEOUT_SECS) -> list[str]:
    """Applies what is missing and returns the names of it; `dsn` is the owner's.

    Safe to call from several processes at once: each migration is applied by one of them while the others wait. One
    that fails leaves nothing behind, those before it stay.

    Raises:
        ConfigError: the server is too old or not UTF-8, an applied migration was edited, the database is of a newer
            version, or the owner lacks a right (the message says which).
        FleetwireError: nobody answers in time.
        OSError: nobody listens there.
    """
    try:
        connection = await _connect(dsn, connect_timeout_secs)
    except TimeoutError:
        raise FleetwireError(f"The database did not answer within {connect_timeout_secs:g} s.") from None
    try:
        await _check_server(connection)
        # Each step takes the lock for its own transaction: a session lock would not survive a pooler in between.
        async with connection.transaction():
            await connection.execute(_SQL["lock"])
            await connection.execute(_SQL["create_ledger"])
        known = migrations()
        return [migration.name for migration in known if await _apply(connection, migration, known)]
    finally:
        await connection.close()


async def keep_up(dsn: str, *, connect_timeout_secs: float) -> list[str]:
    """As `migrate`, for a worker that may be of a later release than the server which started it.

    It may as well be of an earlier one than the database, while nodes are renewed one after the other: it goes on then.

    Raises:
        ConfigError: an applied migration was edited, or the owner lacks a right.
        TimeoutError: nobody answers in time.
    """
    connection = await _connect(dsn, connect_timeout_secs)
    try:
        applied = dict(await connection.fetch(_SQL["applied"]))
        known = migrations()
        ours = [
            migration.name
            for migration in known
            if migration.name not in applied and await _apply(connection, migration, known, accepts_newer=True)
        ]
    finally:
        connection.terminate()
    return ours


async def _connect(dsn: str, timeout_secs: float) -> asyncpg.Connection:
    return await asyncpg.connect(dsn, timeout=timeout_secs, server_settings={"application_name": "fleetwire migrate"})


async def _check_server(connection: asyncpg.Connection) -> None:
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < OLDEST_SERVER_VERSION:
        found = await connection.fetchval("SHOW server_version")
        raise ConfigError(f"The database server is PostgreSQL {found}; version 15 or newer is needed.")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise ConfigError(f"The database is encoded in {encoding}; create it with ENCODING 'UTF8'.")


async def _apply(
    connection: asyncpg.Connection, migration: Migration, known: list[Migration], *, accepts_newer: bool = False
) -> bool:
    async with connection.transaction():
        await connection.execute(_SQL["lock"])
        applied = dict(await connection.fetch(_SQL["applied"]))
        _check_ledger(applied, known, accepts_newer=accepts_newer)
        if migration.name in applied:
            return False
        try:
            await connection.execute(migration.sql)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigError(str(error)) from error
        await connection.execute(_SQL["record"], migration.name, migration.sha256)
    _log.info("Migration applied.", migration=migration.name)
    return True


def _check_ledger(applied: dict[str, str], known: list[Migration], *, accepts_newer: bool) -> None:
    expected = {migration.name: migration.sha256 for migration in known}
    for name, sha256 in applied.items():
        if name not in expected:
            if accepts_newer:
                continue
            raise ConfigError(f"The database has migration {name}, which this version does not know; it is newer.")
        if sha256 != expected[name]:
            raise ConfigError(f"Migration {name} was edited after it was applied; add a new one instead.")
