"""`python -m bench.micro [--json] [--quick]`."""

import argparse
import sys

import msgspec

import fleetwire
from bench.micro import bench_bucket, bench_decode, bench_group
from bench.micro.stopwatch import Stopwatch


def main() -> None:
    """Runs every micro-benchmark and prints its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description="Micro-benchmarks of the core.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="smoke run; the figures are meaningless")
    given = parser.parse_args()
    if fleetwire.build_profile != "release":
        sys.exit("The core is a debug build; build it with `make build`.")
    stopwatch = Stopwatch(quick=given.quick)
    figures = {**bench_decode.run(stopwatch), **bench_group.run(stopwatch), **bench_bucket.run(stopwatch)}
    if given.json:
        print(msgspec.json.encode(figures).decode())
        return
    for name, value in figures.items():
        print(f"{name:30} {value:12.2f}")


if __name__ == "__main__":
    main()
