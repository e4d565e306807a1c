"""Recorded traces, and what of them must be stored, counted from the file without any code of the package."""

import csv
import gzip
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .database import Stored, stored
from .process import ROOT

FOLDER = Path(os.environ.get("FLEETWIRE_TRACES") or ROOT.parent / "shared" / "data")
COLUMNS = ("device", "ts_ms", "lat", "lon", "alt_m", "speed_mps", "heading_deg", "accuracy_m")
YEAR_2000_MILLIS = 946_684_800_000
# Column to the member of a fix, and the range that the contract gives it.
MEMBERS = {
    "lat": ("latitude", -90, 90),
    "lon": ("longitude", -180, 180),
    "alt_m": ("altitude", -12_000, 100_000),
    "speed_mps": ("speed", 0, 327),
    "heading_deg": ("heading", 0, 360),
    "accuracy_m": ("accuracy", 0, 100_000),
}

Row = dict[str, str]


def present() -> bool:
    """Whether the real traces are here."""
    return any(FOLDER.glob("*.csv.gz"))


def real_files() -> list[Path]:
    """The real traces; skips the test where they are not."""
    files = sorted(FOLDER.glob("*.csv.gz"))
    if not files:
        pytest.skip(f"*** THE REAL TRACES ARE NOT TESTED: no *.csv.gz in {FOLDER}; set FLEETWIRE_TRACES. ***")
    return files


def read(paths: Sequence[Path], *, limit: int | None = None) -> Iterator[Row]:
    """Rows of the files as text, at most `limit` of each."""
    for path in paths:
        with gzip.open(path, "rt", newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                if number == limit:
                    break
                yield row


def synthetic(*, devices: int = 20, rows: int = 3_000, seed: int = 7) -> list[Row]:
    """A seeded trace with what real ones have: bursts, gaps, repeated times, days crossed, and fixes that are none."""
    rng = random.Random(seed)
    at_millis = {f"sim-{number}": 1_700_000_000_000 + number for number in range(devices)}
    made: list[Row] = []
    for number in range(rows):
        device = rng.choice(list(at_millis))
        step = rng.choices([0, 1, 1_000, 60_000, 3_600_000], [1, 4, 60, 30, 5])[0]
        at_millis[device] += step
        optional = ["" if rng.random() < 0.3 else f"{rng.uniform(0, 300):.2f}" for _ in range(4)]
        latitude = rng.uniform(-90, 90) if number % 97 else 90.5
        made.append(
            dict(
                zip(
                    COLUMNS,
                    [device, str(at_millis[device]), f"{latitude:.7f}", f"{rng.uniform(-180, 180):.7f}", *optional],
                )
            )
        )
    return made


def write(path: Path, rows: Sequence[Row]) -> Path:
    """The rows as a gzip CSV file."""
    with gzip.open(path, "wt", newline="", compresslevel=1) as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        out.writerows(rows)
    return path


def as_fix(row: Row) -> dict[str, Any]:
    """A row as a sender puts it into a batch."""
    fix: dict[str, Any] = {"timestamp": int(row["ts_ms"])}
    return fix | {member: float(row[column]) for column, (member, _, _) in MEMBERS.items() if row[column]}


def batches(rows: Sequence[Row], size: int) -> list[tuple[bytes, int]]:
    """Bodies of at most `size` fixes of one device each, in the order of the rows, with their number of fixes."""
    opened: dict[str, list[Row]] = {}
    closed: list[tuple[str, list[Row]]] = []
    for row in rows:
        held = opened.setdefault(row["device"], [])
        held.append(row)
        if len(held) == size:
            closed.append((row["device"], opened.pop(row["device"])))
    closed += opened.items()
    return [
        (json.dumps({"device": name, "fixes": [as_fix(row) for row in held]}).encode(), len(held))
        for name, held in closed
    ]


@dataclass
class Expected:
    """What must be stored of a trace, and how many rows must be refused."""

    sent: int
    rejected: int
    places: dict[tuple[str, int], set[tuple[int, int]]]
    """By device and time: where it may be. Two rows of one time may disagree; the one that came first stays."""

    @classmethod
    def of(cls, rows: Iterator[Row] | Sequence[Row]) -> "Expected":
        """Counts a trace."""
        expected = cls(0, 0, {})
        for row in rows:
            expected.sent += 1
            if _is_valid(row):
                place = (round(float(row["lat"]) * 1e7), round(float(row["lon"]) * 1e7))
                expected.places.setdefault((row["device"], int(row["ts_ms"])), set()).add(place)
            else:
                expected.rejected += 1
        return expected

    @property
    def distinct(self) -> int:
        """Fixes that must be stored."""
        return len(self.places)

    @property
    def duplicate(self) -> int:
        """Fixes that a first replay must call duplicate."""
        return self.sent - self.rejected - self.distinct

    async def check(self, dsn: str, tenant: str) -> None:
        """The view `fix` holds this and nothing else, position by position."""
        found = await stored(dsn, tenant)
        assert len(found) == self.distinct
        wrong = [each for each in found if not self._has(each)]
        assert not wrong, wrong[:5]
        assert len({(each.device, each.millis) for each in found}) == self.distinct

    def _has(self, each: Stored) -> bool:
        return (each.lat_e7, each.lon_e7) in self.places.get((each.device, each.millis), ())


def _is_valid(row: Row) -> bool:
    in_range = all(low <= float(row[column]) <= high for column, (_, low, high) in MEMBERS.items() if row[column])
    return in_range and int(row["ts_ms"]) >= YEAR_2000_MILLIS
