"""Measures the cache's hit rate under mixed load: all kinds of Locust users in their usual shares."""

import asyncio
import sys

from bench import REPOSITORY
from bench.cache.fleet import cache_stats
from bench.server import processes
from bench.server.start import BenchServer

EVERY_SECS = 5.0  # between the batches of a driver: with one a second Locust alone would use a whole core


async def hit_rate(server: BenchServer, admin_token: str, *, users: int, secs: int) -> dict[str, float]:
    """Returns the share of cached reads that ran no handler, in percent, and the number of reads.

    Raises:
        RuntimeError: Locust failed.
    """
    before = await asyncio.to_thread(cache_stats, server.port, admin_token)
    await _locust(server, users=users, secs=secs)
    after = await asyncio.to_thread(cache_stats, server.port, admin_token)
    counts = {name: after["requests"][name] - before["requests"][name] for name in ("hit", "stale", "miss")}
    reads = sum(counts.values())
    return {
        "mixed_users": users,
        "mixed_reads_per_sec": reads / secs,
        "mixed_hit_percent": 100 * (1 - counts["miss"] / max(reads, 1)),
        "mixed_stale_percent": 100 * counts["stale"] / max(reads, 1),
        "mixed_handler_calls": after["handler_calls"] - before["handler_calls"],
    }


async def _locust(server: BenchServer, *, users: int, secs: int) -> None:
    arguments = ["-f", "bench/locustfile.py", "--headless", "--only-summary", "--save", ""]
    arguments += ["-H", f"http://127.0.0.1:{server.port}", "-u", str(users), "-r", str(max(10, users // 5))]
    arguments += ["-t", f"{secs}s", "--every-secs", str(EVERY_SECS)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "locust", *arguments),
        cwd=REPOSITORY,
        env=processes.environment(FLEETWIRE_TOKEN=server.ingest_key, FLEETWIRE_WATCH_TOKEN=server.dispatcher_token),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"Locust ended with {process.returncode}:\n{output.decode(errors='replace')[-4000:]}")
