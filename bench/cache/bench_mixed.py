"""How much of what is read was kept while a fleet writes: the users of Locust, all kinds of them, in their shares."""

import asyncio
import sys

from bench.cache.stage import Stage
from bench.ingest import children
from bench.ingest.options import REPOSITORY

EVERY_SECS = 5.0  # of each driver: with a batch a second Locust alone would fill a processor


async def hit_rate(stage: Stage, *, users: int, secs: int) -> dict[str, float]:
    """Reads of kept routes that no handler was run for, in percent, and how many there were.

    Raises:
        RuntimeError: Locust met an error.
    """
    before = await asyncio.to_thread(stage.figures)
    await _locust(stage, users=users, secs=secs)
    after = await asyncio.to_thread(stage.figures)
    counts = {name: after["requests"][name] - before["requests"][name] for name in ("hit", "stale", "miss")}
    reads = sum(counts.values())
    return {
        "mixed_users": users,
        "mixed_reads_per_sec": reads / secs,
        "mixed_hit_percent": 100 * (1 - counts["miss"] / max(reads, 1)),
        "mixed_stale_percent": 100 * counts["stale"] / max(reads, 1),
        "mixed_handler_calls": after["handler_calls"] - before["handler_calls"],
    }


async def _locust(stage: Stage, *, users: int, secs: int) -> None:
    arguments = ["-f", "bench/locustfile.py", "--headless", "--only-summary", "--save", ""]
    arguments += ["-H", f"http://127.0.0.1:{stage.port}", "-u", str(users), "-r", str(max(10, users // 5))]
    arguments += ["-t", f"{secs}s", "--every-secs", str(EVERY_SECS)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "locust", *arguments),
        cwd=REPOSITORY,
        env=children.environment(FLEETWIRE_TOKEN=stage.ingest, FLEETWIRE_WATCH_TOKEN=stage.reader),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"Locust ended with {process.returncode}:\n{told.decode(errors='replace')[-4000:]}")
