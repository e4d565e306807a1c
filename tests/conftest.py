"""A real PostgreSQL for the tests.

The embedded one in a temporary folder, or the server that FLEETWIRE_TEST_DATABASE_URL names (its user must be a
superuser); in both, every test that asks for one gets a database of its own.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from fleetwire.postgres import pool
from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.migrate import migrate

# Servers that a test starts check it where PYTHONASYNCIODEBUG is set, as `make test` does.
pool.checks_nesting = True

T = TypeVar("T")

LONG_TESTS = "FLEETWIRE_TEST_LONG"
MEMORY_NEEDED_BYTES = 2 << 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what takes minutes, unless it was asked for."""
    if os.environ.get(LONG_TESTS) != "1":
        for item in items:
            if item.get_closest_marker("long") is not None:
                item.add_marker(pytest.mark.skip(reason=f"takes minutes; run with {LONG_TESTS}=1"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says aloud what was left out: a skipped test must not pass for one that held."""
    left_out = [each for each in terminalreporter.stats.get("skipped", []) if LONG_TESTS in str(each.longrepr)]
    for each in left_out:
        terminalreporter.write_line(f"NOT RUN, takes minutes; run with {LONG_TESTS}=1: {each.nodeid}", red=True)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine from a fixture that is not one, whatever loop the test itself runs on."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _quick_dir() -> str | None:
    """Memory that looks like a disk, where there is enough: making a database there takes a fifth of the time."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_NEEDED_BYTES else None


def _named(dsn: str, database: str) -> str:
    return urlsplit(dsn)._replace(path=f"/{database}").geturl()


@contextmanager
def _temporary_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fleetwire-test-", dir=_quick_dir()))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def scratch_dir() -> Iterator[Path]:
    """A folder with a short path that other users may pass through.

    `tmp_path` is neither: pytest takes the right to pass away again when another run of it starts.
    """
    with _temporary_dir() as path:
        yield path


@pytest.fixture(scope="session")
def session_dir() -> Iterator[Path]:
    """The same for the time of all tests."""
    with _temporary_dir() as path:
        yield path


@pytest.fixture(scope="session")
def postgres_dsn(session_dir: Path) -> Iterator[str]:
    """The owner's DSN of a server."""
    if external := os.environ.get("FLEETWIRE_TEST_DATABASE_URL"):
        yield external
        return
    with EmbeddedPostgres(session_dir / "server") as server:
        yield server.dsn


def _temporary_database(server_dsn: str, origin: str) -> Iterator[str]:
    name = f"fleetwire_test_{secrets.token_hex(6)}"
    _run(_execute(server_dsn, f"CREATE DATABASE {name} {origin}"))
    yield _named(server_dsn, name)
    _run(_execute(server_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@pytest.fixture
def empty_database(postgres_dsn: str) -> Iterator[str]:
    """The owner's DSN of a database with nothing in it."""
    yield from _temporary_database(postgres_dsn, "TEMPLATE template0 ENCODING 'UTF8'")


@pytest.fixture(scope="session")
def migrated_template(postgres_dsn: str) -> Iterator[str]:
    """The name of a migrated database without connections, to be copied."""
    for dsn in _temporary_database(postgres_dsn, "TEMPLATE template0 ENCODING 'UTF8'"):
        _run(migrate(dsn))
        yield urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def database(postgres_dsn: str, migrated_template: str) -> Iterator[str]:
    """The owner's DSN of a migrated database of the test's own."""
    yield from _temporary_database(postgres_dsn, f"TEMPLATE {migrated_template}")
