"""Reads processor time, memory, children and listening sockets of other processes from /proc."""

import os
from pathlib import Path
from typing import Final

TICKS_PER_SEC: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat after the name, counted from 0.
_STATE, _PARENT, _OWN_TIMES, _TIMES_WITH_CHILDREN = 0, 1, slice(11, 13), slice(11, 15)
_LISTENING = "0A"


def children(parent_pid: int) -> list[int]:
    """Returns the living children of a process."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[_PARENT]) == parent_pid and stat[_STATE] != "Z"]


def listens(pid: int, port: int) -> bool:
    """Returns whether a process has a listening socket on a TCP port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    wanted = {f"socket:[{each[9]}]" for each in lines if each[1].endswith(f":{port:04X}") and each[3] == _LISTENING}
    try:
        return any(str(entry.readlink()) in wanted for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # The process or one of its files is gone.


def cpu_secs(pid: int) -> float:
    """Returns the processor time of a process; 0 for one that is gone."""
    return _secs(_stat(pid)[_OWN_TIMES])


def tree_cpu_secs(parent_pid: int) -> float:
    """Returns the processor time of a process and all its children, including those that have ended."""
    return _secs(_stat(parent_pid)[_TIMES_WITH_CHILDREN]) + sum(map(cpu_secs, children(parent_pid)))


def resident_bytes(pid: int) -> int:
    """Returns the resident memory (VmRSS) of a process; 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def _secs(ticks: list[str]) -> float:
    return sum(map(int, ticks)) / TICKS_PER_SEC


def _stat(pid: int) -> list[str]:
    """Returns the fields after the name, which may contain blanks; empty for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
