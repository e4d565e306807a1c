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
from bench.cache.fleet import LIMITS, store_fleet
from bench.micro.stopwatch import Stopwatch
from bench.server.start import start_server
from fleetwire.runtime import logs

CACHED_APP = "bench.server.cached_app:create_app"


def main() -> None:
    """Measures the cache and prints its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.cache", description="Cached reads; see bench/README.md.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="smoke run; the figures are meaningless")
    given = parser.parse_args()
    if fleetwire.build_profile != "release":
        sys.exit("The core is a debug build; build it with `make build`.")
    logs.configure(level="warning", form="console")  # on stderr; stdout has the figures
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
    async with start_server(folder, app=CACHED_APP, FLEETWIRE_LIMITS=LIMITS) as server:
        admin_token = await server.issue_token("user", "ada", "--role", "admin")
        await asyncio.to_thread(store_fleet, server.port, server.ingest_key, 50 if quick else 1_000)
        reads = bench_reads.Reads(server.port, server.dispatcher_token, admin_token)
        figures = await bench_access.authorisation(server.dsn, Stopwatch(quick=quick))
        figures |= await reads.throughput(secs=0.2 if quick else 5.0)
        figures |= await reads.users(count=100 if quick else 1_000, secs=2 if quick else 20)
        figures |= await reads.sizes()
        # Last, because its drivers add devices. Few users read, and rarely: a run cannot be much smaller.
        users, secs = (200, 12) if quick else (500, 60)
        return figures | await bench_mixed.hit_rate(server, admin_token, users=users, secs=secs)


if __name__ == "__main__":
    main()
