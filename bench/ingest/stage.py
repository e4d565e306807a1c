"""The server under test: PostgreSQL, one worker with the empty route, a tenant with an ingest key."""

import asyncio
import http.client
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.ingest import children
from bench.ingest.options import REPOSITORY
from fleetwire.store.embedded import running_dsn

TENANT = "bench"


@dataclass(frozen=True, slots=True)
class Stage:
    """A running server."""

    address: str
    """host:port."""
    token: str
    """An ingest key."""
    watch_token: str
    """A dispatcher's."""
    dsn: str
    """The database owner's."""
    worker_pid: int
    postmaster_pid: int


@asynccontextmanager
async def raise_stage(folder: Path) -> AsyncIterator[Stage]:
    """Starts everything in `folder`, and stops it."""
    port = children.free_port()
    data_dir = folder / "data"

    async def is_ready() -> bool:
        return (await asyncio.to_thread(health, port)).get("phase") == "ready"

    command = ["-m", "bench.serve", "--data-dir", str(data_dir), "--port", str(port)]
    async with children.running(command, is_ready=is_ready):
        dsn = running_dsn(data_dir)
        if dsn is None:
            raise RuntimeError("The embedded PostgreSQL does not run although the server is ready.")
        yield Stage(
            address=f"127.0.0.1:{port}",
            token=await asyncio.to_thread(_issue_token, data_dir, "ingest"),
            watch_token=await asyncio.to_thread(_issue_token, data_dir, "user", "dora"),
            dsn=dsn,
            worker_pid=(await asyncio.to_thread(health, port))["pid"],
            postmaster_pid=int((data_dir / "postgres" / "postmaster.pid").read_text(encoding="ascii").split()[0]),
        )


def _issue_token(data_dir: Path, *what: str) -> str:
    command = [sys.executable, "-m", "fleetwire", "token", *what, "--tenant", TENANT, "--data-dir", str(data_dir)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=children.environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def health(port: int) -> dict[str, Any]:
    """What /health says; empty while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        answer: dict[str, Any] = msgspec.json.decode(connection.getresponse().read())
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return {}
    finally:
        connection.close()
    return answer
