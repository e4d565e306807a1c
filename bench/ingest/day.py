"""Measures reading a device's day as GeoJSON: time to the first byte and to the last."""

import subprocess
import sys
import time
from statistics import median
from typing import Any

import aiohttp

from bench import REPOSITORY
from bench.server import processes

DAY_MILLIS = 86_400_000
FIXES = 86_400
DEVICE = "day-00000"
READS = 5
_FEATURE = b'"Point"'


def start_millis() -> int:
    """Returns the start of a past UTC day whose hours can be merged."""
    return (time.time_ns() // 1_000_000 // DAY_MILLIS - 2) * DAY_MILLIS


async def read(address: str, token: str, *, from_millis: int, fixes: int) -> dict[str, Any]:
    """Reads the day several times after a warm-up; returns medians.

    Raises:
        RuntimeError: an answer lacks a fix.
    """
    path = f"http://{address}/api/devices/{DEVICE}/track"
    span = {"from": str(from_millis), "to": str(from_millis + DAY_MILLIS - 1), "format": "geojson"}
    # Uncompressed, because the rival does not compress.
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
    first_millis, whole_millis, size = [], [], 0
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        for _ in range(1 + READS):
            started = time.perf_counter()
            async with session.get(path, params=span) as answer:
                content = bytearray(await answer.content.readany())
                first_millis.append((time.perf_counter() - started) * 1000)
                async for part in answer.content.iter_any():
                    content += part
            whole_millis.append((time.perf_counter() - started) * 1000)
            size = len(content)
            if (found := content.count(_FEATURE)) != fixes:
                raise RuntimeError(f"{found} of {fixes} fixes were read from {address}.")
    return {
        "first_byte_millis": median(first_millis[1:]),
        "whole_millis": median(whole_millis[1:]),
        "mebibytes": size / (1 << 20),
        "fixes_per_sec": fixes / median(whole_millis[1:]) * 1000,
    }


def merge(dsn: str) -> None:
    """Runs `fleetwire upkeep` once, at full speed."""
    command = [sys.executable, "-m", "fleetwire", "upkeep", "--database-url", dsn]
    subprocess.run(command, cwd=REPOSITORY, env=processes.environment(), capture_output=True, check=True)
