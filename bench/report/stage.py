"""The servers under test: `fleetwire serve` as an operator runs it, with the embedded PostgreSQL."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.ingest import children
from bench.ingest.options import REPOSITORY
from bench.ingest.stage import health
from bench.report import proc
from fleetwire.store.embedded import running_dsn

TENANT = "bench"
MOVING_APP = "bench.moving_app:create_app"


@dataclass(frozen=True, slots=True)
class Node:
    """One running server."""

    address: str
    """host:port."""
    main_pid: int
    dsn: str
    """The database owner's."""
    postmaster_pid: int | None
    """None where the database is another node's."""

    def worker_pids(self) -> list[int]:
        """The processes that serve, however often they were respawned."""
        return [pid for pid in proc.children(self.main_pid) if proc.listens(pid, int(self.address.split(":")[1]))]


@dataclass(slots=True)
class Stage:
    """The servers of one scenario, and who may speak to them."""

    nodes: list[Node] = field(default_factory=list)
    token: str = ""
    """An ingest key."""
    watch_token: str = ""
    """A dispatcher's."""

    @property
    def dsn(self) -> str:
        """The one database of all nodes."""
        return self.nodes[0].dsn

    def worker_pids(self) -> list[int]:
        """Of all nodes."""
        return [pid for node in self.nodes for pid in node.worker_pids()]


@asynccontextmanager
async def raise_stage(folder: Path, *, nodes: int = 1, app: str | None = None, **settings: str) -> AsyncIterator[Stage]:
    """Starts `nodes` servers on one database, each with one worker, and stops them.

    Args:
        folder: where the database is made.
        nodes: more than one need `FLEETWIRE_REDIS_URL` among the settings.
        app: another application than the product's, as `module:factory`.
        settings: environment variables of the servers.
    """
    stage = Stage()
    async with contextlib.AsyncExitStack() as exits:
        for number in range(nodes):
            more = {} if number == 0 else {"FLEETWIRE_DATABASE_URL": stage.dsn}
            data_dir = folder / f"node-{number}"
            stage.nodes.append(await exits.enter_async_context(_node(data_dir, app, settings | more)))
        stage.token = await asyncio.to_thread(_issue, stage.dsn, "ingest")
        stage.watch_token = await asyncio.to_thread(_issue, stage.dsn, "user", "dora", "--role", "dispatcher")
        yield stage


@asynccontextmanager
async def _node(data_dir: Path, app: str | None, settings: dict[str, str]) -> AsyncIterator[Node]:
    port = children.free_port()
    serve = ["-m", "bench.serve", "--app", app] if app else ["-m", "fleetwire", "serve"]
    command = [*serve, "--data-dir", str(data_dir), "--port", str(port)]
    is_embedded = "FLEETWIRE_DATABASE_URL" not in settings

    async def is_ready() -> bool:
        return (await asyncio.to_thread(health, port)).get("phase") == "ready"

    env = {"FLEETWIRE_LOG_LEVEL": "warning", **settings}
    async with children.running(command, is_ready=is_ready, **env) as process:
        dsn = running_dsn(data_dir) if is_embedded else settings["FLEETWIRE_DATABASE_URL"]
        if dsn is None:
            raise RuntimeError("The embedded PostgreSQL does not run although the server is ready.")
        pid_file = data_dir / "postgres" / "postmaster.pid"
        postmaster = int(pid_file.read_text(encoding="ascii").split()[0]) if is_embedded else None
        yield Node(f"127.0.0.1:{port}", process.pid, dsn, postmaster)


def _issue(dsn: str, *what: str) -> str:
    command: Sequence[str] = [sys.executable, "-m", "fleetwire", "token", *what, "--tenant", TENANT]
    env = children.environment(FLEETWIRE_DATABASE_URL=dsn)
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()
