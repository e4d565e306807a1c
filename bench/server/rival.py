"""Starts the rival service on the same PostgreSQL server, in its own database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from bench.server import processes

TOKEN = "rival"
_NEEDS = ("fastapi", "sqlalchemy", "uvicorn", "uvloop", "httptools")


def missing() -> list[str]:
    """Returns the packages of the dependency group `bench` that are not installed."""
    return [package for package in _NEEDS if find_spec(package) is None]


@asynccontextmanager
async def start_rival(dsn: str) -> AsyncIterator[tuple[str, int]]:
    """Runs one uvicorn worker; yields `host:port` and its process id."""
    port = processes.free_port()
    command = [
        "-m", "uvicorn", "--factory", "bench.rivals.fastapi_rows:create_app", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--loop", "uvloop", "--http", "httptools", "--no-access-log",
        "--log-level", "warning",
    ]  # fmt: skip
    url = dsn.replace("postgresql://", "postgresql+asyncpg://", 1)
    env = {"RIVAL_DATABASE_URL": url, "RIVAL_TOKEN": TOKEN}
    async with processes.running(command, is_ready=lambda: processes.listens(port), **env) as process:
        yield f"127.0.0.1:{port}", process.pid
