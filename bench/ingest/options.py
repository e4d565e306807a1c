"""Options of the ingest benchmark."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from bench import REPOSITORY


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """Options of one run."""

    secs: float = 15.0
    """Duration of each measurement under load."""
    repeat: int = 3
    """Repetitions of all measurements; the report shows medians."""
    soak_secs: float = 600.0
    """Duration of the soak at the highest rate, for the worker's memory."""
    connections: tuple[int, ...] = (64, 128, 256)
    sockets: int = 1_000
    devices: int = 10_000
    late_devices: int = 2_000
    """Fewer, so that an hour of their history is stored before a batch is an hour late."""
    day_fixes: int = 86_400
    """Fixes of one device, a second apart, read as GeoJSON."""
    copy_fixes: int = 2_000_000
    """Rows of the bare COPY."""
    folder: Path | None = None
    """Folder of the database; None: the system's temporary folder."""
    results: Path = REPOSITORY / "bench" / "results"
    loadgen: Path = REPOSITORY / "target" / "release" / "loadgen"
    rival: bool = True
    micro: bool = True
    steps: frozenset[str] = frozenset()
    """Names of the measurements to run; empty: all."""
    quick: bool = False

    @property
    def middle(self) -> int:
        """Number of connections of measurements that run at one number only."""
        return self.connections[len(self.connections) // 2]

    def wants(self, step: str) -> bool:
        """Returns whether a measurement is to run; `http50` selects `http50@64` and the others."""
        return not self.steps or step in self.steps or step.partition("@")[0] in self.steps


QUICK = IngestOptions(
    secs=0.5,
    repeat=1,
    soak_secs=1.0,
    connections=(4,),
    sockets=20,
    devices=100,
    late_devices=20,
    day_fixes=500,
    copy_fixes=10_000,
    quick=True,
)
"""Smoke run; its figures are meaningless."""


def parse(arguments: list[str] | None = None) -> IngestOptions:
    """Parses a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description="Measures ingest; see bench/README.md.")
    parser.add_argument("--quick", action="store_true", help="smoke run of a few seconds; its figures are meaningless")
    parser.add_argument("--secs", type=float, help="duration of each measurement (15)")
    parser.add_argument("--repeat", type=int, help="number of repetitions; the report shows medians (3)")
    parser.add_argument("--soak-secs", type=float, help="duration of the soak; 0 skips it (600)")
    parser.add_argument("--copy-fixes", type=int, help="rows of the bare COPY (2000000)")
    parser.add_argument("--folder", type=Path, help="folder of the database (the system's temporary folder)")
    parser.add_argument("--results", type=Path, help="folder of the JSON and the table (bench/results)")
    parser.add_argument("--loadgen", type=Path, help="the load generator (target/release/loadgen)")
    parser.add_argument("--no-rival", dest="rival", action="store_false", default=None, help="skip the rival")
    parser.add_argument("--no-micro", dest="micro", action="store_false", default=None, help="skip bench/micro")
    parser.add_argument(
        "--steps", type=lambda text: frozenset(text.split(",")), help="only these measurements, such as http50,copy"
    )
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return replace(QUICK if given.pop("quick") else IngestOptions(), **given)
