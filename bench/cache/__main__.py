"""`python -m bench.cache [--json] [--quick]`."""

import argparse
import asyncio
import resource
import sys
import tempfile
from pathlib import Path

import msgspec

import fleetwire
from bench.cache import bench_access, bench_lru, bench_mixed, bench_reads
from bench.cache.stage import raise_stage
from bench.micro.stopwatch import Stopwatch
from fleetwire import logs


def main() -> None:
    """Measures the cache and prints its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.cache", description="Cached reads; see bench/README.md.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="show that it works; the figures say nothing")
    given = parser.parse_args()
    if fleetwire.build_profile != "release":
        sys.exit("The core is a debug build; build it with `make build`.")
    logs.configure(level="warning", form="console")  # on stderr: what is printed are the figures
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    figures = bench_lru.run(Stopwatch(quick=given.quick))
    with tempfile.TemporaryDirectory(prefix="fleetwire-bench-") as folder:
        figures |= asyncio.run(_reads(Path(folder), quick=given.quick))
    if given.json:
        print(msgspec.json.encode(figures).decode())
        return
    for name, value in figures.items():
        print(f"{name:32} {value:12.2f}")


async def _reads(folder: Path, *, quick: bool) -> dict[str, float]:
    async with raise_stage(folder, devices=50 if quick else 1_000) as stage:
        figures = await bench_access.authorisation(folder, Stopwatch(quick=quick))
        figures |= await bench_reads.throughput(stage, secs=0.2 if quick else 5.0)
        figures |= await bench_reads.users(stage, count=100 if quick else 1_000, secs=2 if quick else 20)
        figures |= await bench_reads.sizes(stage)
        # Last, as its drivers add devices. Few users read, and seldom: a run cannot be much smaller.
        return figures | await bench_mixed.hit_rate(stage, users=200 if quick else 500, secs=12 if quick else 60)


if __name__ == "__main__":
    main()
