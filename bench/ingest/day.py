"""A device's whole day as GeoJSON: how long until the first byte, how long until the last."""

import subprocess
import sys
import time
from statistics import median
from typing import Any

import aiohttp

from bench.ingest import children
from bench.ingest.options import REPOSITORY

DAY_MILLIS = 86_400_000
FIXES = 86_400
DEVICE = "day-00000"
READS = 5
_FEATURE = b'"Point"'


def begins_millis() -> int:
    """The start of a UTC day that is over and whose hours are ready to be merged."""
    return (time.time_ns() // 1_000_000 // DAY_MILLIS - 2) * DAY_MILLIS


async def read(address: str, token: str, *, from_millis: int, fixes: int) -> dict[str, Any]:
    """Reads it some times, and once before.

    Raises:
        RuntimeError: an answer does not hold every fix.
    """
    path = f"http://{address}/api/devices/{DEVICE}/track"
    span = {"from": str(from_millis), "to": str(from_millis + DAY_MILLIS - 1), "format": "geojson"}
    # Not compressed: the rival does not do it, and the bytes are what is compared.
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
                raise RuntimeError(f"{found} of {fixes} fixes came from {address}.")
    return {
        "first_byte_millis": median(first_millis[1:]),
        "whole_millis": median(whole_millis[1:]),
        "mebibytes": size / (1 << 20),
        "fixes_per_sec": fixes / median(whole_millis[1:]) * 1000,
    }


def merge(dsn: str) -> None:
    """`fleetwire upkeep`, once and at full speed."""
    command = [sys.executable, "-m", "fleetwire", "upkeep", "--database-url", dsn]
    subprocess.run(command, cwd=REPOSITORY, env=children.environment(), capture_output=True, check=True)
