"""What the benchmark does, and how long."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """All options of one run of the benchmark."""

    secs: float = 15.0
    """Length of each measurement under load."""
    repeat: int = 3
    """Repetitions of the whole list of measurements; medians are quoted."""
    soak_secs: float = 600.0
    """Length of the run at the highest rate after which memory is looked at again."""
    connections: tuple[int, ...] = (64, 128, 256)
    sockets: int = 1_000
    devices: int = 10_000
    late_devices: int = 2_000
    """Fewer, so that an hour of their history is stored before a batch comes late by an hour."""
    day_fixes: int = 86_400
    """Of one device, a second apart, read as GeoJSON."""
    copy_fixes: int = 2_000_000
    """Rows of the bare COPY."""
    folder: Path | None = None
    """Where the database is made; None: the system's folder for temporary files."""
    results: Path = REPOSITORY / "bench" / "results"
    loadgen: Path = REPOSITORY / "target" / "release" / "loadgen"
    rival: bool = True
    micro: bool = True
    steps: frozenset[str] = frozenset()
    """Names of the measurements to make; empty: all."""
    quick: bool = False

    @property
    def middle(self) -> int:
        """The number of connections of measurements that are made at one only."""
        return self.connections[len(self.connections) // 2]

    def wants(self, step: str) -> bool:
        """Whether a measurement is to be made; `http50` stands for `http50@64` and the others."""
        return not self.steps or step in self.steps or step.partition("@")[0] in self.steps


QUICK = Options(
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
"""Shows that everything works; its figures say nothing."""


def parse(arguments: list[str] | None = None) -> Options:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description="Measures ingest; see bench/README.md.")
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds; its figures say nothing")
    parser.add_argument("--secs", type=float, help="length of each measurement (15)")
    parser.add_argument("--repeat", type=int, help="repetitions, of which medians are quoted (3)")
    parser.add_argument("--soak-secs", type=float, help="length of the soak; 0 leaves it out (600)")
    parser.add_argument("--copy-fixes", type=int, help="rows of the bare COPY (2000000)")
    parser.add_argument("--folder", type=Path, help="where the database is made (the system's temporary folder)")
    parser.add_argument("--results", type=Path, help="where the JSON and the table are written (bench/results)")
    parser.add_argument("--loadgen", type=Path, help="the load generator (target/release/loadgen)")
    parser.add_argument("--no-rival", dest="rival", action="store_false", default=None, help="leave the rival out")
    parser.add_argument("--no-micro", dest="micro", action="store_false", default=None, help="leave bench/micro out")
    parser.add_argument("--steps", type=lambda text: frozenset(text.split(",")), help="only these, such as http50,copy")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return replace(QUICK if given.pop("quick") else Options(), **given)
