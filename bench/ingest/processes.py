"""Processor time and memory of other processes, from /proc: without it a ratio does not say who was busy."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat after the name, counted from 0: state, ppid, ... utime, stime, cutime, cstime.
_PARENT, _TIMES, _TIMES_WITH_CHILDREN = 1, slice(11, 13), slice(11, 15)


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds since the processes began."""

    worker_secs: float
    postgres_secs: float

    def __sub__(self, earlier: "Usage") -> "Usage":
        return Usage(self.worker_secs - earlier.worker_secs, self.postgres_secs - earlier.postgres_secs)


def usage(worker_pid: int, postmaster_pid: int) -> Usage:
    """What a worker and a database server with all its backends have used so far."""
    return Usage(_secs([worker_pid], _TIMES), _secs([postmaster_pid], _TIMES_WITH_CHILDREN) + _children(postmaster_pid))


def resident_bytes(pid: int) -> int:
    """VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _children(parent_pid: int) -> float:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return _secs([pid for pid in pids if (stat := _stat(pid)) and int(stat[_PARENT]) == parent_pid], _TIMES)


def _secs(pids: Iterable[int], fields: slice) -> float:
    return sum(sum(map(int, _stat(pid)[fields])) for pid in pids) / TICKS_PER_SEC


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold blanks; empty for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
