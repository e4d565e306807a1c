"""`python -m bench.compare A B`: prints the figures of two results of the same kind, and B over A."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

RENAMED_SCENARIOS: Final = {"deaf": "stalled"}
"""Scenarios by their name in older results."""


def main() -> None:
    """Compares the results of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("earlier", type=Path, help="JSON of bench.ingest, bench.report or Locust")
    parser.add_argument("later", type=Path)
    given = parser.parse_args()
    earlier, later = (msgspec.json.decode(path.read_bytes()) for path in (given.earlier, given.later))
    print("\n".join(table(earlier, later)))


def table(earlier: dict[str, Any], later: dict[str, Any]) -> Iterator[str]:
    """Yields a Markdown table; counts figures that only one result has."""
    before, after = dict(figures(earlier)), dict(figures(later))
    if earlier["machine"]["name"] != later["machine"]["name"]:
        yield "Two machines: compare ratios within each, not these figures.\n"
    yield f"| figure | {earlier['commit']} | {later['commit']} | later / earlier |"
    yield "| --- | --- | --- | --- |"
    shared = [name for name in before if name in after]
    for name in shared:
        ratio = f"{after[name] / before[name]:.3g}" if before[name] else "-"
        yield f"| {name} | {before[name]:,.4g} | {after[name]:,.4g} | {ratio} |"
    if lone := len(before.keys() ^ after.keys()):
        yield f"\nIn one of them only: {lone} figures."


def figures(result: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields every named figure of a result of any kind."""
    for each in result.get("figures", []):
        scenario, colon, rest = each["name"].partition(":")
        yield from _numbers(_current_name(scenario) + colon + rest, {"measured": each["measured"]})
    for name, found in result.get("scenarios", {}).items():
        scenario = _current_name(name)
        yield from _numbers(scenario, found.get("figures", {}))
        for step in found.get("steps", []):
            yield from _numbers(f"{scenario} at {step['rate']:,}/s", step)
    for each in result.get("entries", []):
        yield from _numbers(each["name"], each)
    yield from _numbers("counts", result.get("counts", {}))


def _current_name(scenario: str) -> str:
    return RENAMED_SCENARIOS.get(scenario, scenario)


def _numbers(name: str, values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for part, value in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{name}, {part}", float(value)


if __name__ == "__main__":
    main()
