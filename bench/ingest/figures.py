"""Computes the figures of the table from the measurements: medians over the repetitions, and verdicts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.ingest.options import IngestOptions

Repetition = Mapping[str, Mapping[str, Any]]
Formula = Callable[[Repetition], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    at_least: float
    aim: float
    values: tuple[float, ...]
    """One value per repetition; empty if it was not measured."""
    unit: str = "times"
    smaller_is_better: bool = False

    @property
    def measured(self) -> float | None:
        """Median of the values."""
        return median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        """`aim`, `holds`, `MISSED` or `not measured`."""
        if self.measured is None:
            return "not measured"
        if self._reaches(self.aim):
            return "aim"
        return "holds" if self._reaches(self.at_least) else "MISSED"

    def _reaches(self, bound: float) -> bool:
        return self.measured is not None and (
            self.measured <= bound if self.smaller_is_better else self.measured >= bound
        )


def ratio(above: tuple[str, str], below: tuple[str, str]) -> Formula:
    """Returns a formula for the ratio of two measurements of one repetition, each as (step, figure)."""
    return lambda repetition: repetition[above[0]][above[1]] / repetition[below[0]][below[1]]


def value(step: str, figure: str) -> Formula:
    """Returns a formula for one measurement."""
    return lambda repetition: repetition[step][figure]


def all_figures(
    options: IngestOptions, repetitions: Sequence[Repetition], soak: Mapping[str, Any], micro: Mapping[str, Any]
) -> Iterator[Figure]:
    """Yields every line of the table."""

    def over(formula: Formula) -> tuple[float, ...]:
        return tuple(_known(formula, repetitions))

    fixes, requests, middle = "fixes_per_sec", "requests_per_sec", f"http50@{options.middle}"
    for count in options.connections:
        copied = over(ratio((f"http50@{count}", fixes), ("copy", fixes)))
        yield Figure(f"durable fixes/s over HTTP, {count} connections / bare COPY of rows", 1.1, 1.8, copied)
    copied = over(ratio(("ws50", fixes), ("copy", fixes)))
    yield Figure(f"durable fixes/s over /ws, {options.sockets} sockets / bare COPY of rows", 1.3, 2.2, copied)
    for count in options.connections:
        emptied = over(ratio((f"http50@{count}", requests), (f"empty50@{count}", requests)))
        yield Figure(f"batches/s, {count} connections / requests/s of the empty handler", 0.35, 0.6, emptied)
    fifty, one = over(ratio((middle, fixes), ("rival50", fixes))), over(ratio(("http1", fixes), ("rival1", fixes)))
    yield Figure("durable fixes/s / the rival's, 50 per request", 15, 30, fifty)
    yield Figure("durable fixes/s / the rival's, 1 per request", 6, 12, one)
    one_by_one = over(ratio(("http1", fixes), ("empty1", requests)))
    yield Figure("one fix per request: durable requests/s / empty handler", 0.35, 0.6, one_by_one)
    stored, answered = (over(ratio(("dirty", name), ("clean", name))) for name in (fixes, requests))
    yield Figure("20 % twice and 5 % late / clean, durable fixes/s", 0.6, 0.9, stored)
    yield Figure("20 % twice and 5 % late / clean, batches answered/s", 0.6, 0.9, answered)
    half = over(value("half", "p99_millis"))
    yield Figure("p99 of the receipt at half of the highest rate", 50, 15, half, "ms", smaller_is_better=True)
    resident = over(lambda run: max(run[f"http50@{count}"]["resident_peak_mebibytes"] for count in options.connections))
    yield Figure("worker's memory at the highest rate", 300, 150, resident, "MiB", smaller_is_better=True)
    yield from _soaked(soak)
    size = over(value(middle, "bytes_per_fix"))
    yield Figure("bytes per stored fix, batches of 50, not merged", 25, 20, size, "bytes", smaller_is_better=True)
    merged = over(value("merged", "bytes_per_fix"))
    yield Figure("bytes per stored fix after merging", 12, 9, merged, "bytes", smaller_is_better=True)
    for part, name in (("first_byte_millis", "first byte"), ("whole_millis", "whole")):
        quicker = over(ratio(("rivalday", part), ("day", part)))
        yield Figure(f"a device's day as GeoJSON, {name}: the rival's time / ours", 3, 10, quicker)
    yield from _micro(micro)


def _soaked(soak: Mapping[str, Any]) -> Iterator[Figure]:
    last = (soak["resident_last_mebibytes"],) if soak else ()
    growth = (soak["resident_last_mebibytes"] / soak["resident_first_mebibytes"],) if soak else ()
    yield Figure("worker's memory after the soak", 300, 150, last, "MiB", smaller_is_better=True)
    # Memory must not grow after the first tenth of the soak.
    yield Figure("the same / at a tenth of the soak", 1.1, 1.02, growth, smaller_is_better=True)


def _micro(micro: Mapping[str, Any]) -> Iterator[Figure]:
    def one(name: str) -> tuple[float, ...]:
        return (micro[name],) if name in micro else ()

    copied, decoded, compared = one("copy_ratio"), one("decode_json_mb_per_sec"), one("decode_json_ratio")
    yield Figure("JSON of a 50-fix batch to checked COPY bytes / msgspec structs and Python checks", 3, 6, copied)
    yield Figure("decode and validation alone, JSON, one core", 600, 1_200, decoded, "MB/s")
    # The same two bounds relative to the 580 MB/s of msgspec on the machine where they were set.
    yield Figure("decode and validation, JSON / msgspec to unchecked structs", 1.03, 2.07, compared)


def _known(formula: Formula, repetitions: Sequence[Repetition]) -> Iterator[float]:
    for repetition in repetitions:
        try:
            yield formula(repetition)
        except (KeyError, ZeroDivisionError):
            continue  # One of the measurements is missing.
