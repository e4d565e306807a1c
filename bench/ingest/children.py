"""Child processes of the benchmark: started ready, ended by their own id."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from bench.ingest.options import REPOSITORY

START_SECS = 180.0
STOP_SECS = 30.0


def environment(**more: str) -> dict[str, str]:
    """What child processes see: this checkout, and none of the caller's settings of the product."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETWIRE_")}
    return kept | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'python'}"} | more


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    command: Sequence[str], *, is_ready: Callable[[], Awaitable[bool]], **env: str
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A server written in Python, from when it answers until the block ends.

    Raises:
        RuntimeError: it ended before, or did not get ready.
    """
    process = await asyncio.to_thread(_start, [sys.executable, *command], environment(**env))
    try:
        async with asyncio.timeout(START_SECS):
            while not await is_ready():
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended with {process.returncode}")
                await asyncio.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, STOP_SECS)
        if process.poll() is None:
            process.kill()
            process.wait()


def _start(command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=subprocess.DEVNULL)


async def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
