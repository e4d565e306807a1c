"""Renders the result as a Markdown table and saves it with the JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.ingest.figures import Figure, Repetition

_WHO = ("worker", "postgres", "loadgen")
_COLUMNS = ("fixes_per_sec", "requests_per_sec", "p50_millis", "p99_millis")


def render(header: Mapping[str, Any], figures: Sequence[Figure], repetitions: Sequence[Repetition]) -> str:
    """Renders Markdown: machine, figures with verdicts, and the measurements."""
    machine = header["machine"]
    where = (
        f"{header['date']}, commit {header['commit']}, {machine['cores']} cores of {machine['cpu']}, kernel "
        f"{machine['kernel']}, PostgreSQL {header['database']['server_version']}, fsync {machine['fsync_millis']} ms "
        f"on {machine['filesystem']}, load average at the start {machine['load_average_at_start']:.1f}. "
        f"Medians of {len(repetitions)} repetitions of {header['options']['secs']:g} s; lowest to highest in brackets."
    )
    lines = [
        where,
        "",
        "| figure | measured | at least | aim | |",
        "| --- | --- | --- | --- | --- |",
        *map(_figure_line, figures),
        "",
        "| measurement | durable fixes/s | requests/s | p50 ms | p99 ms | worker, PostgreSQL, client: us per request |",
        "| --- | --- | --- | --- | --- | --- |",
        *_step_lines(repetitions),
    ]
    return "\n".join(lines) + "\n"


def save(
    folder: Path, header: Mapping[str, Any], figures: Sequence[Figure], measured: Mapping[str, Any], table: str
) -> Path:
    """Writes `<date>-<commit>-<machine>.json` and the table beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{header['date'][:10]}-{header['commit']}-{header['machine']['name']}.json"
    named = [
        {
            "name": each.name,
            "measured": each.measured,
            "values": each.values,
            "unit": each.unit,
            "at_least": each.at_least,
            "aim": each.aim,
            "verdict": each.verdict,
        }
        for each in figures
    ]
    whole = {**header, "figures": named, **measured}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    path.with_suffix(".md").write_text(table, encoding="utf-8")
    return path


def _figure_line(figure: Figure) -> str:
    measured = "-" if figure.measured is None else f"{_short(figure.measured)}"
    if len(figure.values) > 1:
        measured += f" ({_short(min(figure.values))} to {_short(max(figure.values))})"
    name = f"{figure.name} ({figure.unit})"
    return f"| {name} | {measured} | {_short(figure.at_least)} | {_short(figure.aim)} | {figure.verdict} |"


def _step_lines(repetitions: Sequence[Repetition]) -> Iterator[str]:
    names = list(dict.fromkeys(name for repetition in repetitions for name in repetition))
    for name in names:
        runs = [repetition[name] for repetition in repetitions if name in repetition]
        cells = [_short(median(run[column] for run in runs)) if column in runs[0] else "" for column in _COLUMNS]
        spent = [run["micros_per_request"] for run in runs if "micros_per_request" in run]
        who = [_short(median(each[part] for each in spent)) for part in _WHO] if spent else []
        yield f"| {name} | {' | '.join(cells)} | {', '.join(who)} |"


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
