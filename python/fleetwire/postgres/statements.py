"""Loads the SQL statements from the `.sql` files that stand beside the code that owns them.

A file is named by its path in the package without the suffix, such as `store/ingest`. A block is one statement:

    -- name --
    -- One sentence.
    -- $1 tenant_id int, $2 names text[]
    SELECT ...

The parameter line may be missing or go on over several lines; a test compares it with what the server infers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

TRACK_SEGMENT_COLUMNS = (
    "tenant_id",
    "fix_count",
    "device_id",
    "first_at",
    "last_at",
    "received_at",
    "offset_millis",
    "lat_e7",
    "lon_e7",
    "altitude_dm",
    "speed_cmps",
    "heading_cdeg",
    "accuracy_dm",
    "battery_permille",
)
"""Columns of `track_segment` and `track_merged`, in the order in which the core renders their rows."""

_ROOT = Path(__file__).parents[1]
_NAME = re.compile(r"^-- (\w+) --\n", re.MULTILINE)
_PARAMETER = re.compile(r"\$(\d+) (\w+) ([a-z0-9_]+(?:\[\])?)")


@dataclass(frozen=True, slots=True)
class Statement:
    """One block of a file."""

    name: str
    sentence: str
    parameters: tuple[tuple[str, str], ...]
    """(name, PostgreSQL type) of $1, $2, ..."""
    sql: str


@cache
def describe(path: str) -> Mapping[str, Statement]:
    """Returns the blocks of `<path>.sql` by name, in the order of the file."""
    text = _ROOT.joinpath(f"{path}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    return MappingProxyType({name: _statement(name, body) for name, body in zip(names, bodies, strict=True)})


def load(path: str) -> Mapping[str, str]:
    """Returns the SQL of all statements of `<path>.sql` by name."""
    return {name: statement.sql for name, statement in describe(path).items()}


def paths() -> list[str]:
    """Returns the path of every file of statements in the package; migrations are no such files."""
    found = (entry.relative_to(_ROOT).with_suffix("") for entry in _ROOT.rglob("*.sql"))
    return sorted(str(path) for path in found if path.parent.name != "migrations")


def _statement(name: str, body: str) -> Statement:
    lines = body.strip().splitlines()
    header_end = next(index for index, line in enumerate(lines) if not line.startswith("--"))
    header = [line.removeprefix("--").strip() for line in lines[:header_end]]
    first_parameter = next((index for index, line in enumerate(header) if line.startswith("$")), header_end)
    parameters = _PARAMETER.findall(" ".join(header[first_parameter:]))
    if [int(number) for number, _, _ in parameters] != list(range(1, len(parameters) + 1)):
        raise ValueError(f"The parameter line of {name} does not count from $1.")
    return Statement(
        name=name,
        sentence=" ".join(header[:first_parameter]),
        parameters=tuple((parameter, kind) for _, parameter, kind in parameters),
        sql="\n".join(lines[header_end:]).removesuffix(";"),
    )
