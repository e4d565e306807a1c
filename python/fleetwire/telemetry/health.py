"""What operators and load balancers ask: alive, ready, healthy."""

import os
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import asyncpg

from fleetwire.postgres.pool import acquire
from fleetwire.runtime import clock, supervisor

DATABASE_SECS = 2.0  # a database that needs longer for SELECT 1 is away
Phase = Literal["starting", "ready", "draining", "drained"]


class Health:
    """The state of this worker."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.warnings: list[Callable[[], Iterable[str]]] = [supervisor.descriptions]
        """Each returns sentences for the operator about what does not go as it should, without anything of a tenant."""
        self._started_secs = clock.monotonic_secs()
        self._cpu_before = (self._started_secs, time.process_time())

    async def report(
        self, pool: asyncpg.Pool, *, sockets: dict[str, int], held_batches: int, relay: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Everything `/health` says. Nothing of any tenant is in it."""
        started = clock.monotonic_secs()
        database = await answers(pool)
        connected = relay is None or relay["state"] == "connected"
        stuck = supervisor.stuck_names()
        return {
            "status": "ok" if database and connected and not stuck and self.phase == "ready" else "degraded",
            "phase": self.phase,
            "stuck_tasks": stuck,
            "warnings": [sentence for source in self.warnings for sentence in source()],
            "uptime_secs": round(clock.monotonic_secs() - self._started_secs, 1),
            "database": {"ok": database, "millis": round((clock.monotonic_secs() - started) * 1000, 1)},
            **({} if relay is None else {"relay": relay}),
            "sockets": sockets,
            "held_batches": held_batches,
            "memory_bytes": _memory_bytes(),
            "memory_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "cpu": self._cpu(),
            "pid": os.getpid(),
        }

    def _cpu(self) -> dict[str, float]:
        """Processors this worker kept busy since the last report, and the seconds it used since its start."""
        now_secs, used_secs = clock.monotonic_secs(), time.process_time()
        since_secs, before_secs = self._cpu_before
        self._cpu_before = (now_secs, used_secs)
        busy = (used_secs - before_secs) / max(now_secs - since_secs, 1e-3)
        return {"busy": round(busy, 3), "used_secs": round(used_secs, 1), "load_1_min": round(os.getloadavg()[0], 2)}


def _memory_bytes() -> int:
    """What the process holds in memory at the moment; its peak where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


async def answers(pool: asyncpg.Pool) -> bool:
    """Whether the database answers in time."""
    try:
        async with acquire(pool, limit_secs=DATABASE_SECS) as connection:
            return bool(await connection.fetchval("SELECT 1") == 1)
    except Exception:  # noqa: BLE001 - whatever it says instead, batches cannot be stored
        return False
