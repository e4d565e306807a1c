"""Recorded traces, and what of them must be stored, counted without any code of the package."""

import csv
import gzip
import math
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from .fixes import now_millis
from .process import ROOT

Place = tuple[int, int]
Truth = dict[tuple[str, int], set[Place]]
"""(device, ms since 1970) to the places recorded for it, in 1e-7 degrees: a few rows repeat a time at another place."""

FOLDER = Path(os.environ.get("FLEETWIRE_TRACES") or ROOT.parent / "shared" / "data")
REAL = sorted(FOLDER.glob("*.csv.gz"))
HEADER = ["device", "ts_ms", "lat", "lon", "alt_m", "speed_mps", "heading_deg", "accuracy_m"]
EARLIEST_MILLIS = 946_684_800_000
RANGES = {
    "lat": (-90, 90),
    "lon": (-180, 180),
    "alt_m": (-12_000, 100_000),
    "speed_mps": (0, 327),
    "heading_deg": (0, 360),
    "accuracy_m": (0, 100_000),
}


def rows(files: Iterable[Path], limit: int | None = None) -> Iterator[dict[str, str]]:
    """The rows of CSV files, as text."""
    for file in files:
        with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if limit is not None and limit <= 0:
                    return
                limit = None if limit is None else limit - 1
                yield row


def truth(recorded: Iterable[dict[str, str]], prefix: str = "") -> Truth:
    """What a server that keeps every valid fix exactly once has afterwards."""
    expected: Truth = {}
    for row in recorded:
        millis = int(row["ts_ms"])
        if EARLIEST_MILLIS <= millis <= now_millis() and all(_in_range(row, name) for name in RANGES):
            place = round(float(row["lat"]) * 1e7), round(float(row["lon"]) * 1e7)
            expected.setdefault((prefix + row["device"], millis), set()).add(place)
    return expected


def _in_range(row: dict[str, str], name: str) -> bool:
    low, high = RANGES[name]
    return not row[name] or low <= float(row[name]) <= high


def synthetic(folder: Path, *, devices: int = 40, fixes: int = 500, seed: int = 5) -> Path:
    """A seeded trace in the same form, for where the recorded ones are not: late, repeated and invalid rows too."""
    chance = random.Random(seed)
    start = now_millis() - 40 * 24 * 3_600_000
    recorded = []
    for number in range(devices):
        lat, lon, heading = 48 + chance.random(), 11 + chance.random(), chance.random() * math.tau
        at = start + chance.randrange(24 * 3_600_000)
        for _ in range(fixes):
            at += chance.choice([1_000, 1_000, 5_000, 61_250])
            heading += chance.gauss(0, 0.3)
            lat, lon = lat + 1e-4 * math.cos(heading), lon + 1e-4 * math.sin(heading)
            degrees = math.degrees(heading) % 360
            recorded.append([f"car-{number}", at, f"{lat:.7f}", f"{lon:.7f}", "", "12.5", f"{degrees:.2f}", "4"])
    recorded += chance.sample(recorded, len(recorded) // 50)
    recorded += [["car-0", start, "91", "11", "", "", "", ""], ["car-1", 0, "48", "11", "", "", "", ""]]
    recorded.sort(key=lambda row: (int(row[1]) // 600_000, chance.random()))
    path = folder / "synthetic.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *recorded])
    return path
