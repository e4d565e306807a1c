"""Every fixed statement, from the files in `sql/`.

A file is a noun, a block is one statement:

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
from importlib.resources import files
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
def describe(noun: str) -> Mapping[str, Statement]:
    """All blocks of `sql/<noun>.sql` by name, in the order of the file."""
    text = files(__package__).joinpath("sql", f"{noun}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    return MappingProxyType({name: _statement(name, body) for name, body in zip(names, bodies, strict=True)})


def load(noun: str) -> Mapping[str, str]:
    """The SQL of all statements of `sql/<noun>.sql` by name."""
    return {name: statement.sql for name, statement in describe(noun).items()}


def nouns() -> list[str]:
    """The files there are."""
    folder = files(__package__).joinpath("sql")
    return sorted(entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql"))


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
