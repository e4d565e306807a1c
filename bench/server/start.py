"""Starts the servers under test, with the embedded PostgreSQL and one worker per node, and issues their tokens."""

import asyncio
import http.client
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import REPOSITORY
from bench.server import proc, processes
from fleetwire.postgres.embedded.server import running_dsn

TENANT: Final = "bench"


@dataclass(frozen=True, slots=True)
class Node:
    """One running server."""

    port: int
    main_pid: int
    dsn: str
    """Connection string of the database's owner."""
    postmaster_pid: int | None
    """None if another node or the caller started the database."""

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def worker_pids(self) -> list[int]:
        """Returns the worker processes, also after a respawn."""
        return [pid for pid in proc.children(self.main_pid) if proc.listens(pid, self.port)]


@dataclass(slots=True)
class BenchServer:
    """The nodes of one benchmark, which share a database, and credentials for them."""

    nodes: list[Node] = field(default_factory=list)
    ingest_key: str = ""
    dispatcher_token: str = ""

    @property
    def dsn(self) -> str:
        """Connection string of the database's owner."""
        return self.nodes[0].dsn

    @property
    def address(self) -> str:
        """`host:port` of the first node."""
        return self.nodes[0].address

    @property
    def port(self) -> int:
        """Port of the first node."""
        return self.nodes[0].port

    def worker_pids(self) -> list[int]:
        """Returns the worker processes of all nodes."""
        return [pid for node in self.nodes for pid in node.worker_pids()]

    def postgres_cpu_secs(self) -> float:
        """Returns the processor time of the embedded PostgreSQL, with all its backends."""
        return sum(proc.tree_cpu_secs(node.postmaster_pid) for node in self.nodes if node.postmaster_pid)

    async def issue_token(self, *arguments: str) -> str:
        """Issues a credential of the tenant with `fleetwire token ARGUMENTS`."""
        return await asyncio.to_thread(_issue_token, self.dsn, arguments)


@asynccontextmanager
async def start_server(
    folder: Path, *, nodes: int = 1, app: str | None = None, **settings: str
) -> AsyncIterator[BenchServer]:
    """Starts `nodes` servers on one database, yields them when they are ready, and stops them.

    Args:
        folder: folder of the database.
        nodes: number of servers; more than one need `FLEETWIRE_REDIS_URL` among the settings.
        app: application to serve instead of the product's, as `module:factory`.
        settings: environment variables of the servers; `FLEETWIRE_DATABASE_URL` replaces the embedded PostgreSQL.
    """
    server = BenchServer()
    async with AsyncExitStack() as exits:
        for number in range(nodes):
            shared = {} if number == 0 else {"FLEETWIRE_DATABASE_URL": server.dsn}
            node = _start_node(folder / f"node-{number}", app, settings | shared)
            server.nodes.append(await exits.enter_async_context(node))
        server.ingest_key = await server.issue_token("ingest")
        server.dispatcher_token = await server.issue_token("user", "dora", "--role", "dispatcher")
        yield server


@asynccontextmanager
async def _start_node(data_dir: Path, app: str | None, settings: dict[str, str]) -> AsyncIterator[Node]:
    port = processes.free_port()
    serve = ["-m", "bench.server.serve", "--app", app] if app else ["-m", "fleetwire", "serve"]
    command = [*serve, "--data-dir", str(data_dir), "--port", str(port)]
    is_embedded = "FLEETWIRE_DATABASE_URL" not in settings

    async def is_ready() -> bool:
        return (await asyncio.to_thread(_health, port)).get("phase") == "ready"

    env = {"FLEETWIRE_LOG_LEVEL": "warning", **settings}
    async with processes.running(command, is_ready=is_ready, **env) as process:
        dsn = running_dsn(data_dir) if is_embedded else settings["FLEETWIRE_DATABASE_URL"]
        if dsn is None:
            raise RuntimeError("The embedded PostgreSQL does not run although the server is ready.")
        pid_file = data_dir / "postgres" / "postmaster.pid"
        postmaster_pid = int(pid_file.read_text(encoding="ascii").split()[0]) if is_embedded else None
        yield Node(port, process.pid, dsn, postmaster_pid)


def _health(port: int) -> dict[str, Any]:
    """Returns the answer of /health; empty while there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        answer: dict[str, Any] = msgspec.json.decode(connection.getresponse().read())
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return {}
    finally:
        connection.close()
    return answer


def _issue_token(dsn: str, arguments: tuple[str, ...]) -> str:
    command = [sys.executable, "-m", "fleetwire", "token", *arguments, "--tenant", TENANT]
    env = processes.environment(FLEETWIRE_DATABASE_URL=dsn)
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()
