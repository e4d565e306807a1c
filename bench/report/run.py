"""Runs the load generator against a stage, and looks at the server's processes and its database all the while."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from bench.ingest import children
from bench.report import proc
from bench.report.stage import Stage

SAMPLE_SECS = 0.5
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Sample(msgspec.Struct, frozen=True):
    """What was seen at one moment; processor times count from when the processes began."""

    at_millis: int
    resident_bytes: int
    """Of all workers."""
    worker_secs: float
    postgres_secs: float
    loadgen_secs: float
    connections: int
    """Of the database's clients, without the one that asks."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the load generator, and what was seen meanwhile."""

    report: dict[str, Any]
    events: dict[str, int]
    """What was reached, by the clock in milliseconds."""
    samples: list[Sample]

    def measured(self) -> list[Sample]:
        """The samples within the measurement."""
        begin, end = self.events.get("measuring", 0), self.events.get("done", 1 << 62)
        return [each for each in self.samples if begin <= each.at_millis <= end] or self.samples

    def cores(self, who: str) -> float:
        """Cores that `worker`, `postgres` or `loadgen` kept busy during the measurement."""
        first, last = self.measured()[0], self.measured()[-1]
        secs = (last.at_millis - first.at_millis) / 1000
        return (getattr(last, f"{who}_secs") - getattr(first, f"{who}_secs")) / secs if secs > 0 else 0.0

    def resident_bytes(self) -> int:
        """Memory of all workers, the most of it."""
        return max(each.resident_bytes for each in self.measured())

    def connections(self) -> int:
        """Database connections, the most of them."""
        return max(each.connections for each in self.measured())

    def timeline(self) -> dict[str, list[float]]:
        """For the plots: seconds since the first sample, MiB, cores, connections."""
        begin = self.samples[0].at_millis
        pairs = list(zip(self.samples, self.samples[1:], strict=False))
        gaps_secs = [max(0.001, (after.at_millis - before.at_millis) / 1000) for before, after in pairs]

        def cores(who: str) -> list[float]:
            used = (getattr(after, f"{who}_secs") - getattr(before, f"{who}_secs") for before, after in pairs)
            return [round(max(0.0, secs) / gap, 3) for secs, gap in zip(used, gaps_secs, strict=True)]

        return {
            "secs": [(after.at_millis - begin) / 1000 for _, after in pairs],
            "resident_mebibytes": [round(after.resident_bytes / (1 << 20), 1) for _, after in pairs],
            "connections": [float(after.connections) for _, after in pairs],
            **{f"{who}_cores": cores(who) for who in ("worker", "postgres", "loadgen")},
        }


@dataclass(slots=True)
class Watch:
    """Looks at a stage twice a second."""

    stage: Stage
    connection: asyncpg.Connection
    loadgen_pid: int | None = None
    samples: list[Sample] = field(default_factory=list)

    async def look(self) -> Sample:
        """One look."""
        stage, pids = self.stage, self.stage.worker_pids()
        seen = Sample(
            at_millis=time.time_ns() // 1_000_000,
            resident_bytes=sum(map(proc.resident, pids)),
            worker_secs=sum(map(proc.cpu_secs, pids)),
            postgres_secs=sum(proc.tree_cpu_secs(each.postmaster_pid) for each in stage.nodes if each.postmaster_pid),
            loadgen_secs=proc.cpu_secs(self.loadgen_pid) if self.loadgen_pid else 0.0,
            connections=await self.connection.fetchval(_CONNECTIONS),
        )
        self.samples.append(seen)
        return seen

    async def go_on(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(SAMPLE_SECS)


@asynccontextmanager
async def watching(stage: Stage) -> AsyncIterator[Watch]:
    """A watch with a database connection of its own."""
    connection = await asyncpg.connect(stage.dsn, command_timeout=60)
    try:
        yield Watch(stage, connection)
    finally:
        await connection.close()


async def loadgen(program: Path, stage: Stage, mode: str, **options: Any) -> Run:  # noqa: ANN401 - of a command line
    """Runs `loadgen MODE --option value ...`; an option that is True is a bare flag.

    Raises:
        RuntimeError: it failed.
    """
    command = [str(program), mode, "--address", stage.nodes[0].address]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    env = children.environment(FLEETWIRE_TOKEN=stage.token, FLEETWIRE_WATCH_TOKEN=stage.watch_token)
    async with watching(stage) as watch:
        await watch.look()
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
        watch.loadgen_pid = process.pid
        looking = asyncio.create_task(watch.go_on())
        try:
            out, err = await process.communicate()
        finally:
            looking.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
    events, said = _events(err)
    if process.returncode != 0:
        raise RuntimeError(f"The load generator failed: {said}")
    return Run(report=msgspec.json.decode(out), events=events, samples=watch.samples)


def _events(err: bytes) -> tuple[dict[str, int], str]:
    """The events on standard error, and what else was said there."""
    events, said = {}, []
    for line in err.decode(errors="replace").splitlines():
        try:
            event = msgspec.json.decode(line)
            events[event["event"]] = event["at_millis"]
        except (msgspec.DecodeError, KeyError, TypeError):
            said.append(line)
    return events, "; ".join(said)
