"""Runs the load generator, and watches who is busy meanwhile."""

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

from bench.ingest import children, processes

SAMPLE_SECS = 0.5
DAY_MILLIS = 86_400_000
BEGIN_DAYS_AGO = 6
"""Room for all runs before the present: fixes of the future are refused."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the load generator."""

    report: dict[str, Any]
    loadgen_secs: float
    """Processor time of the load generator."""
    used: processes.Usage
    resident_bytes: list[int]
    """Memory of the worker, looked at all the time."""

    def micros_per_request(self) -> dict[str, float]:
        """Who spent how much processor time on a request."""
        requests = max(1, self.report["requests"])
        spent = {"worker": self.used.worker_secs, "postgres": self.used.postgres_secs, "loadgen": self.loadgen_secs}
        return {who: round(secs * 1e6 / requests, 1) for who, secs in spent.items()}


@dataclass(slots=True)
class Loader:
    """Sends to one server; the fleet drives on from run to run, so that no fix is ever sent twice unasked."""

    program: Path
    address: str
    token: str
    worker_pid: int
    postmaster_pid: int
    next_millis: int = field(default_factory=lambda: time.time_ns() // 1_000_000 - BEGIN_DAYS_AGO * DAY_MILLIS)

    async def run(self, mode: str, **options: Any) -> Run:  # noqa: ANN401 - options of a command line
        """Runs `loadgen MODE --option value ...`; an option that is True is a bare flag.

        The fleet drives on from the run before, unless `first_fix_millis` is given.

        Raises:
            RuntimeError: requests were refused or not answered; what remains would not be a measurement.
        """
        command = [str(self.program), mode, "--json", "--address", self.address]
        goes_on = "first_fix_millis" not in options
        for name, value in {"first_fix_millis": self.next_millis, **options}.items():
            command.append(f"--{name.replace('_', '-')}")
            if value is not True:
                command.append(str(value))
        before, children_before = self._usage(), resource.getrusage(resource.RUSAGE_CHILDREN)
        async with _watched(self.worker_pid) as resident:
            env = children.environment(FLEETWIRE_TOKEN=self.token)
            done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"The load generator failed: {done.stderr.decode().strip()}")
        report: dict[str, Any] = msgspec.json.decode(done.stdout)
        children_after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if goes_on:
            self.next_millis = report["last_fix_millis"] + 1_000
        if report["errors"] or set(report["answers"]) - {"200", "receipt"}:
            raise RuntimeError(f"{command[1:3]}: answers {report['answers']}, errors {report['errors']}")
        return Run(
            report=report,
            loadgen_secs=sum(
                getattr(children_after, name) - getattr(children_before, name) for name in ("ru_utime", "ru_stime")
            ),
            used=self._usage() - before,
            resident_bytes=resident,
        )

    def _usage(self) -> processes.Usage:
        return processes.usage(self.worker_pid, self.postmaster_pid)


@contextlib.asynccontextmanager
async def _watched(pid: int) -> AsyncIterator[list[int]]:
    """Resident memory of a process, looked at while the block runs."""
    seen = [processes.resident_bytes(pid)]

    async def watch() -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECS)
            seen.append(processes.resident_bytes(pid))

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
        seen.append(processes.resident_bytes(pid))
