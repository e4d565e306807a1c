"""Runs the load generator and samples the server's processes and database meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from bench.server import proc, processes
from bench.server.start import BenchServer

SAMPLE_SECS = 0.5
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Sample(msgspec.Struct, frozen=True):
    """Memory, processor times and connections at one moment; processor times count from the start of a process."""

    at_millis: int
    resident_bytes: int
    """Memory of all workers."""
    worker_secs: float
    postgres_secs: float
    loadgen_secs: float
    connections: int
    """Connections to the database, without the sampler's own."""


@dataclass(frozen=True, slots=True)
class SampledRun:
    """Report of one run of the load generator, with samples of the server."""

    report: dict[str, Any]
    events: dict[str, int]
    """Wall clock of each phase in milliseconds."""
    samples: list[Sample]

    def measured(self) -> list[Sample]:
        """Returns the samples within the measurement."""
        begin, end = self.events.get("measuring", 0), self.events.get("done", 1 << 62)
        return [each for each in self.samples if begin <= each.at_millis <= end] or self.samples

    def cores(self, who: str) -> float:
        """Returns the mean number of cores that `worker`, `postgres` or `loadgen` used during the measurement."""
        first, last = self.measured()[0], self.measured()[-1]
        secs = (last.at_millis - first.at_millis) / 1000
        return (getattr(last, f"{who}_secs") - getattr(first, f"{who}_secs")) / secs if secs > 0 else 0.0

    def resident_bytes(self) -> int:
        """Returns the peak memory of all workers."""
        return max(each.resident_bytes for each in self.measured())

    def connections(self) -> int:
        """Returns the peak number of database connections."""
        return max(each.connections for each in self.measured())

    def timeline(self) -> dict[str, list[float]]:
        """Returns the series of the plots: seconds since the first sample, MiB, cores, connections."""
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
class Sampler:
    """Samples a server twice a second."""

    server: BenchServer
    connection: asyncpg.Connection
    loadgen_pid: int | None = None
    samples: list[Sample] = field(default_factory=list)

    async def sample(self) -> Sample:
        """Takes one sample."""
        pids = self.server.worker_pids()
        sample = Sample(
            at_millis=time.time_ns() // 1_000_000,
            resident_bytes=sum(map(proc.resident_bytes, pids)),
            worker_secs=sum(map(proc.cpu_secs, pids)),
            postgres_secs=self.server.postgres_cpu_secs(),
            loadgen_secs=proc.cpu_secs(self.loadgen_pid) if self.loadgen_pid else 0.0,
            connections=await self.connection.fetchval(_CONNECTIONS),
        )
        self.samples.append(sample)
        return sample

    async def run(self) -> None:
        """Samples until cancelled."""
        while True:
            await self.sample()
            await asyncio.sleep(SAMPLE_SECS)


@asynccontextmanager
async def open_sampler(server: BenchServer) -> AsyncIterator[Sampler]:
    """Opens a sampler with its own database connection."""
    connection = await asyncpg.connect(server.dsn, command_timeout=60)
    try:
        yield Sampler(server, connection)
    finally:
        await connection.close()


async def loadgen(program: Path, server: BenchServer, mode: str, **options: Any) -> SampledRun:  # noqa: ANN401 - of a command line
    """Runs `loadgen MODE --option value ...`; an option that is True is a bare flag.

    Raises:
        RuntimeError: the load generator failed.
    """
    command = [str(program), mode, "--address", server.address]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    env = processes.environment(FLEETWIRE_TOKEN=server.ingest_key, FLEETWIRE_WATCH_TOKEN=server.dispatcher_token)
    async with open_sampler(server) as sampler:
        await sampler.sample()
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
        sampler.loadgen_pid = process.pid
        sampling = asyncio.create_task(sampler.run())
        try:
            out, err = await process.communicate()
        finally:
            sampling.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
    events, messages = _events(err)
    if process.returncode != 0:
        raise RuntimeError(f"The load generator failed: {messages}")
    return SampledRun(report=msgspec.json.decode(out), events=events, samples=sampler.samples)


def _events(err: bytes) -> tuple[dict[str, int], str]:
    """Splits standard error into events and other messages."""
    events, messages = {}, []
    for line in err.decode(errors="replace").splitlines():
        try:
            event = msgspec.json.decode(line)
            events[event["event"]] = event["at_millis"]
        except (msgspec.DecodeError, KeyError, TypeError):
            messages.append(line)
    return events, "; ".join(messages)
