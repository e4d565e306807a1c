"""Runs the load generator and measures the processor time of all processes meanwhile."""

import asyncio
import contextlib
import resource
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.server import processes
from bench.server.proc import cpu_secs, resident_bytes, tree_cpu_secs

SAMPLE_SECS = 0.5
DAY_MILLIS = 86_400_000
BEGIN_DAYS_AGO = 6
"""Leaves time for all runs before the present: the server refuses fixes of the future."""


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """Processor seconds of the server since its processes started."""

    worker_secs: float
    postgres_secs: float

    def __sub__(self, earlier: "CpuUsage") -> "CpuUsage":
        return CpuUsage(self.worker_secs - earlier.worker_secs, self.postgres_secs - earlier.postgres_secs)


@dataclass(frozen=True, slots=True)
class LoadRun:
    """Result of one run of the load generator."""

    report: dict[str, Any]
    loadgen_secs: float
    """Processor time of the load generator."""
    used: CpuUsage
    resident_bytes: list[int]
    """Samples of the worker's resident memory."""

    def micros_per_request(self) -> dict[str, float]:
        """Returns the processor time per request by process."""
        requests = max(1, self.report["requests"])
        spent = {"worker": self.used.worker_secs, "postgres": self.used.postgres_secs, "loadgen": self.loadgen_secs}
        return {who: round(secs * 1e6 / requests, 1) for who, secs in spent.items()}


@dataclass(slots=True)
class LoadGenerator:
    """Sends load to one server; the fleet continues from run to run, so that no fix is sent twice by accident."""

    program: Path
    address: str
    token: str
    worker_pid: int
    postmaster_pid: int
    next_millis: int = field(default_factory=lambda: time.time_ns() // 1_000_000 - BEGIN_DAYS_AGO * DAY_MILLIS)

    async def run(self, mode: str, **options: Any) -> LoadRun:  # noqa: ANN401 - options of a command line
        """Runs `loadgen MODE --option value ...`; an option that is True is a bare flag.

        The fleet continues from the previous run, unless `first_fix_millis` is given.

        Raises:
            RuntimeError: a request was refused or not answered, which invalidates the measurement.
        """
        command = [str(self.program), mode, "--json", "--address", self.address]
        continues = "first_fix_millis" not in options
        for name, value in {"first_fix_millis": self.next_millis, **options}.items():
            command.append(f"--{name.replace('_', '-')}")
            if value is not True:
                command.append(str(value))
        before, children_before = self._usage(), resource.getrusage(resource.RUSAGE_CHILDREN)
        async with _sampled(self.worker_pid) as resident:
            env = processes.environment(FLEETWIRE_TOKEN=self.token)
            done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"The load generator failed: {done.stderr.decode().strip()}")
        report: dict[str, Any] = msgspec.json.decode(done.stdout)
        children_after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if continues:
            self.next_millis = report["last_fix_millis"] + 1_000
        if report["errors"] or set(report["answers"]) - {"200", "receipt"}:
            raise RuntimeError(f"{command[1:3]}: answers {report['answers']}, errors {report['errors']}")
        return LoadRun(
            report=report,
            loadgen_secs=sum(
                getattr(children_after, name) - getattr(children_before, name) for name in ("ru_utime", "ru_stime")
            ),
            used=self._usage() - before,
            resident_bytes=resident,
        )

    def _usage(self) -> CpuUsage:
        return CpuUsage(cpu_secs(self.worker_pid), tree_cpu_secs(self.postmaster_pid))


@contextlib.asynccontextmanager
async def _sampled(pid: int) -> AsyncIterator[list[int]]:
    """Samples the resident memory of a process while the block runs."""
    samples = [resident_bytes(pid)]

    async def sample() -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECS)
            samples.append(resident_bytes(pid))

    sampling = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        sampling.cancel()
        samples.append(resident_bytes(pid))
