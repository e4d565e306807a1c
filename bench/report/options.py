"""Options of the standard set: scenarios, sizes and durations."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from bench import REPOSITORY

SCENARIOS = (
    "load",
    "http_1000",
    "sockets_10000",
    "storm",
    "fanout_1000",
    "fanout_1000_rows",
    "fanout_1000_protobuf",
    "stalled",
    "relay",
)
"""Names of the scenarios in the order of a run; they are stable across results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Options of one run. The defaults are the standard set: about 12 minutes."""

    only: tuple[str, ...] = SCENARIOS
    out: Path = REPOSITORY / "bench" / "results"
    folder: Path | None = None
    """Folder of the databases; None: the system's temporary folder."""
    loadgen: Path = REPOSITORY / "target" / "release" / "loadgen"
    quick: bool = False

    load_rates: tuple[int, ...] = (250, 500, 1_000, 2_000, 4_000)
    """Batches per second of the curve of latency over load."""
    load_secs: float = 8.0
    drivers: int = 1_000
    few_watchers: int = 100
    http_secs: float = 40.0
    sockets: int = 10_000
    every_secs: float = 30.0
    """Interval between the batches of a driver's socket."""
    rounds: float = 3.0
    """Measured batches of each socket, after two for the warm-up: memory is flat only after the second."""
    watchers: int = 1_000
    devices: int = 10_000
    """Devices that move every second, in the fan-out."""
    fanout_secs: float = 30.0
    stalled_secs: float = 45.0
    """Duration of the run with one watcher that never reads."""
    storm_limit_secs: float = 90.0
    relay_secs: float = 25.0
    warm_secs: float = 5.0


QUICK = ReportOptions(
    quick=True,
    load_rates=(20, 40),
    load_secs=1.0,
    drivers=20,
    few_watchers=5,
    http_secs=2.0,
    sockets=50,
    every_secs=1.0,
    rounds=2.0,
    watchers=10,
    devices=100,
    fanout_secs=2.0,
    stalled_secs=2.0,
    storm_limit_secs=20.0,
    relay_secs=2.0,
    warm_secs=1.0,
)
"""Smoke run; its figures are meaningless."""


def parse(arguments: list[str] | None = None) -> ReportOptions:
    """Parses a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report", description="Measures the standard set; see bench/README.md."
    )
    parser.add_argument("--quick", action="store_true", help="smoke run of two minutes; its figures are meaningless")
    parser.add_argument("--only", type=_scenarios, help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--out", type=Path, help="folder of the JSON and the page (bench/results)")
    parser.add_argument("--folder", type=Path, help="folder of the databases (the system's temporary folder)")
    parser.add_argument("--loadgen", type=Path, help="the load generator (target/release/loadgen)")
    parser.add_argument("--stalled-secs", type=float, help="duration of the run with a watcher that never reads (45)")
    parser.add_argument("--rounds", type=float, help="measured batches of each driver's socket (3)")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return replace(QUICK if given.pop("quick") else ReportOptions(), **given)


def _scenarios(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(SCENARIOS):
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(sorted(unknown))}")
    return tuple(name for name in SCENARIOS if name in names)
