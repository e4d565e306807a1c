"""Connections, each acting as one of the two roles.

The role is a start-up setting of the session, so that it outlives what the pool resets between uses.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import asyncpg

from fleetwire.errors import ConfigError
from fleetwire.postgres import statements
from fleetwire.runtime import request_id

DatabaseRole = Literal["fleetwire_ingest", "fleetwire_app"]

_SQL = statements.load("postgres/connection")
ANSWER_SECS = 5.0  # longest a short question may take, from asking for a connection on
MAX_APPLICATION_NAME_CHARS = 63  # PostgreSQL cuts what is longer, and says so each time
_DURABLE = {"fsync": "on", "full_page_writes": "on"}


async def open_pool(
    dsn: str,
    role: DatabaseRole,
    min_size: int = 1,
    max_size: int = 4,
    *,
    application_name: str = "fleetwire",
    connect_timeout_secs: float = 10.0,
    command_timeout_secs: float | None = 60.0,
    statement_timeout_millis: int = 30_000,
    lock_timeout_millis: int = 0,
    statement_cache_size: int = 100,
    more_settings: Mapping[str, str] = MappingProxyType({}),
    idle_secs: float = 300.0,
    on_query: Sequence[Callable[[Any], None]] = (),
    on_connected: Callable[[Any], object] = lambda _: None,
) -> asyncpg.Pool:
    """Opens a pool whose connections act as `role`; `dsn` is the owner's.

    Args:
        dsn: Must be allowed to act as the role; migrations see to that for the owner.
        role: What the connections act as.
        min_size: Opened at once, and never fewer.
        max_size: More callers wait for a free one.
        application_name: What operators see in pg_stat_activity.
        connect_timeout_secs: For one connection.
        command_timeout_secs: How long this side waits for an answer; None waits for ever. The guard against a server
            that hangs, hence longer than the next.
        statement_timeout_millis: When the server gives up a statement; 0 never.
        lock_timeout_millis: When the server gives up waiting for a lock; 0 never.
        statement_cache_size: Prepared statements kept by a connection; 0 behind a pooler that pools transactions.
        more_settings: PostgreSQL's, for every session.
        idle_secs: When a connection beyond `min_size` that nobody uses is closed; 0 never.
        on_query: Each is told of every finished statement (asyncpg's LoggedQuery); may not block.
        on_connected: Called with the row of `describe_connection` of each new connection, before it is used.

    Raises:
        ConfigError: the server would lose what it acknowledged, or the role is missing or has wrong rights.
    """

    async def check(connection: asyncpg.Connection) -> None:
        found = await connection.fetchrow(_SQL["describe_connection"])
        if found is None or found["role"] != role or found["superuser"]:
            raise ConfigError(f"Connections should act as {role} and do not.")
        if found["bypasses_rls"] != (role == "fleetwire_ingest"):
            raise ConfigError(f"The role {role} has the wrong BYPASSRLS attribute; see migration 0001.")
        # A receipt that says stored means committed. No setting of ours can make up for these.
        for setting, needed in _DURABLE.items():
            if found[setting] != needed:
                raise ConfigError(f"The database server runs with {setting}={found[setting]}; receipts need {needed}.")
        if found["synchronous_commit"] == "off":
            raise ConfigError("The database server runs with synchronous_commit=off; receipts need on.")
        on_connected(found)
        for each in on_query:
            connection.add_query_logger(each)

    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            init=check,
            timeout=connect_timeout_secs,
            max_inactive_connection_lifetime=idle_secs,
            command_timeout=command_timeout_secs,
            statement_cache_size=statement_cache_size,
            server_settings={
                "role": role,
                "application_name": application_name,
                "timezone": "UTC",
                "statement_timeout": str(statement_timeout_millis),
                "lock_timeout": str(lock_timeout_millis),
                # A connection lost in mid-transaction must not keep its row locks for ever.
                "idle_in_transaction_session_timeout": "60s",
                "jit": "off",
                **more_settings,
            },
        )
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        raise ConfigError(f"Connections cannot act as {role}: {error}. Has the database been migrated?") from error


async def check_roles(dsn: str) -> None:
    """Tries a connection of each role, so that the main process says what workers could only die of.

    Raises:
        ConfigError: as `open_pool`.
    """
    for role in get_args(DatabaseRole):
        pool = await open_pool(dsn, role, max_size=1)
        await pool.close()


@asynccontextmanager
async def acquire(pool: asyncpg.Pool, *, limit_secs: float = ANSWER_SECS) -> AsyncIterator[asyncpg.Connection]:
    """A connection for at most `limit_secs`; then it is cut, and what waits on it fails at once.

    A time limit by cancellation would not do: the driver then waits for the server to confirm the cancellation, and a
    server that is frozen never does.

    Nothing that holds a connection may wait for a second one of the same pool: as many of its kind as the pool has
    connections would wait for each other. That raises where it is checked: in tests, and in asyncio's debug mode.

    Raises:
        TimeoutError: none was free in time.
    """
    loop = asyncio.get_running_loop()
    with _not_nested(pool) if checks_nesting or loop.get_debug() else nullcontext():
        connection = await pool.acquire(timeout=limit_secs)
        watchdog = loop.call_later(limit_secs, connection.terminate)
        try:
            yield connection
        finally:
            watchdog.cancel()
            await _give_back(pool, connection, limit_secs)


checks_nesting = False
"""Whether a second connection of a pool is refused to who holds one; set by tests."""


class NestedAcquireError(AssertionError):
    """Code that holds a connection waits for another one of the same pool."""


_held: WeakKeyDictionary[asyncio.Task[Any], list[asyncpg.Pool]] = WeakKeyDictionary()
"""Pools of which a task holds, or waits for, a connection; only where nesting is checked."""


@contextmanager
def _not_nested(pool: asyncpg.Pool) -> Iterator[None]:
    task = asyncio.current_task()
    held = [] if task is None else _held.setdefault(task, [])
    if pool in held:
        raise NestedAcquireError("A connection is acquired while one of the same pool is held.")
    held.append(pool)
    try:
        yield
    finally:
        held.remove(pool)


async def _give_back(pool: asyncpg.Pool, connection: asyncpg.Connection, limit_secs: float) -> None:
    """Goes on when whoever waits for it is cancelled; that it fails then, as the pool is ended, is no error."""
    releasing = asyncio.ensure_future(pool.release(connection, timeout=limit_secs))
    releasing.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.shield(releasing)


@asynccontextmanager
async def tenant_transaction(
    pool: asyncpg.Pool, tenant_id: int, *, isolation: Literal["read_committed", "repeatable_read"] = "read_committed"
) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that sees the rows of one tenant; yields its connection. Commits unless an exception leaves it.

    While it runs, PostgreSQL shows and logs the connection by the id of the request it works for.
    """
    name = f"fleetwire {request_id.current() or ''}".rstrip()[:MAX_APPLICATION_NAME_CHARS]
    async with acquire(pool) as connection, connection.transaction(isolation=isolation):
        await connection.execute(_SQL["set_tenant"], tenant_id, name)
        yield connection
