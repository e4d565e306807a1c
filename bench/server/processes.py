"""Starts child processes of the benchmarks, waits until they are ready, and stops them by their process id."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from bench import REPOSITORY

START_TIMEOUT_SECS = 180.0
STOP_TIMEOUT_SECS = 30.0


def environment(**more: str) -> dict[str, str]:
    """Returns the environment of child processes: this checkout, without the caller's settings of the product."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLEETWIRE_")}
    return inherited | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'python'}"} | more


def free_port() -> int:
    """Returns a port that is free at the time of the call."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    command: Sequence[str], *, is_ready: Callable[[], Awaitable[bool]], **env: str
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Runs a Python server; yields its process when `is_ready` says so, and stops it afterwards.

    Raises:
        RuntimeError: the process ended before it was ready.
    """
    process = await asyncio.to_thread(_start, [sys.executable, *command], environment(**env))
    try:
        async with asyncio.timeout(START_TIMEOUT_SECS):
            while not await is_ready():
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended with {process.returncode}")
                await asyncio.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, STOP_TIMEOUT_SECS)
        if process.poll() is None:
            process.kill()
            process.wait()


def _start(command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=subprocess.DEVNULL)


async def listens(port: int) -> bool:
    """Returns whether a server accepts connections on the port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
