"""`python -m bench.cross_check`: runs the same drivers by Locust and by the load generator, and compares the results.

Both must count the same batches and fixes, within the tolerance of a second at the start, and measure the same median
latency within a factor, because Locust's includes a turn of its own event loop.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from bench import REPOSITORY
from bench.report.run import loadgen
from bench.server import processes
from bench.server.start import BenchServer, start_server
from fleetwire.client import LOCATION_PATH

COUNT_TOLERANCE = 0.15
FACTOR = 4.0
"""Largest ratio of the medians on a quiet machine. Above it, one of the two measures itself."""


def main() -> None:
    """Prints both results, and exits with 1 if they differ."""
    parser = argparse.ArgumentParser(prog="python -m bench.cross_check", description=__doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--secs", type=float, default=15.0)
    parser.add_argument("--factor", type=float, default=FACTOR, help="largest ratio of the medians (4)")
    parser.add_argument("--loadgen", type=Path, default=REPOSITORY / "target" / "release" / "loadgen")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetwire-bench-") as folder:
        ours, theirs = asyncio.run(_measure(Path(folder), given))
    print("| | loadgen | Locust |\n| --- | --- | --- |")
    for name in ours:
        print(f"| {name} | {ours[name]:,.4g} | {theirs[name]:,.4g} |")
    faults = differences(ours, theirs, factor=given.factor)
    if faults:
        sys.exit("; ".join(faults))


def differences(ours: dict[str, float], theirs: dict[str, float], *, factor: float) -> list[str]:
    """Returns the figures that differ by more than the tolerance."""
    found = [
        f"{name}: {ours[name]:,.1f} and {theirs[name]:,.1f}"
        for name in ("batches_per_sec", "fixes_per_sec")
        if abs(ours[name] - theirs[name]) > COUNT_TOLERANCE * ours[name]
    ]
    high, low = max(ours["p50_millis"], theirs["p50_millis"]), min(ours["p50_millis"], theirs["p50_millis"])
    if high > factor * max(low, 1.0):  # Locust's milliseconds are whole.
        found.append(f"p50: {ours['p50_millis']:.1f} and {theirs['p50_millis']:.1f} ms")
    return found


async def _measure(folder: Path, given: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    async with start_server(folder) as server:
        load = {"drivers": given.users, "warm_secs": 0.0, "duration_secs": given.secs, "every_secs": 1.0}
        posts = (await loadgen(given.loadgen, server, "fleet", batch_size=10, **load)).report["posts"]
        ours = {
            "batches_per_sec": posts["requests_per_sec"],
            "fixes_per_sec": posts["fixes"]["stored"] / posts["secs"],
            "p50_millis": posts["latency"]["p50_millis"],
        }
        found = await asyncio.to_thread(_locust, server, folder, given)
    entry = next(each for each in found["entries"] if each["name"] == f"POST {LOCATION_PATH}")
    theirs = {
        "batches_per_sec": entry["requests"] / given.secs,
        "fixes_per_sec": found["counts"]["stored"] / given.secs,
        "p50_millis": entry["p50_millis"],
    }
    return ours, theirs


def _locust(server: BenchServer, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    users = ["HttpDriver", "--users", str(given.users), "--spawn-rate", str(given.users), "--every-secs", "1"]
    command = [
        sys.executable, "-m", "locust", "-f", "bench/locustfile.py", "--headless", "--only-summary", "--host",
        f"http://{server.address}", "--run-time", f"{given.secs:g}s", "--save", str(folder / "locust"), *users,
    ]  # fmt: skip
    env = processes.environment(FLEETWIRE_TOKEN=server.ingest_key)
    subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, check=True)
    (path,) = (folder / "locust").glob("*.json")
    found: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return found


if __name__ == "__main__":
    main()
