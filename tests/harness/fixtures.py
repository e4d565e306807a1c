"""Fixtures of the tests from outside; a folder's conftest imports them."""

from collections.abc import AsyncIterator, Iterator, Mapping

import aiohttp
import pytest

from .client import QUICK_SECS, Client
from .database import temporary_database
from .process import Server, serving
from .tenants import Tenant


@pytest.fixture(scope="module")
def module_database(postgres_dsn: str, migrated_template: str) -> Iterator[str]:
    """The owner's DSN of a migrated database that the tests of one file share."""
    with temporary_database(postgres_dsn, migrated_template) as dsn:
        yield dsn


def running_server(dsn: str, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """One server for a file. At its end, nothing that was sent to it may have made it log an error."""
    with serving("--database-url", dsn, settings=settings) as running:
        yield running
        assert running.stop() == 0
        faults = running.faults()
        assert faults == [], faults


@pytest.fixture(scope="module")
def server(module_database: str) -> Iterator[Server]:
    """A server with the usual settings."""
    yield from running_server(module_database)


@pytest.fixture
def tenant(module_database: str) -> Tenant:
    """A company of the test's own on the shared server."""
    return Tenant(module_database)


@pytest.fixture
def rival(module_database: str) -> Tenant:
    """Another company on the same server."""
    return Tenant(module_database)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections of a test; without a jar, so that a cookie is sent only where a test says so."""
    timeout = aiohttp.ClientTimeout(total=2 * QUICK_SECS)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as opened:
        yield opened


@pytest.fixture
def client(server: Server, session: aiohttp.ClientSession) -> Client:
    """Speaks to the shared server."""
    return Client(server.url, session)
