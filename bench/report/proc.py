"""Other processes, from /proc: whose children they are, what they listen on, what they use."""

from pathlib import Path

from bench.ingest.processes import TICKS_PER_SEC, resident_bytes

_PARENT, _USER, _SYSTEM = 1, 11, 12  # fields of /proc/<pid>/stat after the name
_LISTENING = "0A"


def children(parent_pid: int) -> list[int]:
    """The living children of a process."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[_PARENT]) == parent_pid and stat[0] != "Z"]


def listens(pid: int, port: int) -> bool:
    """Whether a process holds a listening socket on a TCP port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    wanted = {f"socket:[{each[9]}]" for each in lines if each[1].endswith(f":{port:04X}") and each[3] == _LISTENING}
    try:
        return any(str(entry.readlink()) in wanted for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # It is gone, or an entry of it.


def cpu_secs(pid: int) -> float:
    """Processor time that a process has used; 0 for one that is gone."""
    stat = _stat(pid)
    return (int(stat[_USER]) + int(stat[_SYSTEM])) / TICKS_PER_SEC if stat else 0.0


def tree_cpu_secs(parent_pid: int) -> float:
    """Of a process and its children."""
    return cpu_secs(parent_pid) + sum(map(cpu_secs, children(parent_pid)))


def resident(pid: int) -> int:
    """Resident bytes; 0 for a process that is gone."""
    try:
        return resident_bytes(pid)
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
