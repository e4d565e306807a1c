"""Rows of the report's table: scenario, figure, lower bound and aim."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.ingest.figures import Figure

Found = Mapping[str, Mapping[str, Any]]

# (scenario, its figure, description, at least, aim, unit, smaller is better)
_ROWS: tuple[tuple[str, str, str, float, float, str, bool], ...] = (
    (
        "http_1000",
        "receipt_p95_millis",
        "1,000 drivers over HTTP, 100 watchers: p95 of the receipt",
        50,
        10,
        "ms",
        True,
    ),
    ("http_1000", "delay_p99_millis", "the same: p99 from receipt to frame", 500, 300, "ms", True),
    (
        "sockets_10000",
        "receipt_p95_millis",
        "10,000 driver sockets, 1,000 watchers: p95 of the receipt",
        50,
        10,
        "ms",
        True,
    ),
    ("sockets_10000", "resident_gigabytes", "the same: memory of all workers", 2.0, 0.6, "GB", True),
    ("sockets_10000", "cpu_percent", "the same: CPU of all workers, of 2 cores", 50, 20, "%", True),
    ("sockets_10000", "connections", "the same: database connections", 20, 8, "", True),
    (
        "fanout_1000",
        "positions_per_core_sec",
        "1,000 watchers, 10,000 devices moving: positions per second of one core, plain JSON",
        10e6,
        25e6,
        "per s",
        False,
    ),
    ("fanout_1000_rows", "positions_per_core_sec", "the same, JSON rows by subprotocol", 10e6, 25e6, "per s", False),
    ("fanout_1000_protobuf", "positions_per_core_sec", "the same, Protobuf", 30e6, 60e6, "per s", False),
    *(
        (scenario, name, f"the same, {form}: {sentence}", at_least, aim, unit, True)
        for name, sentence, at_least, aim, unit in (
            ("delay_p99_beyond_tick_millis", "p99 delay beyond the tick", 150, 60, "ms"),
            ("kibibytes_per_watcher", "memory per watcher", 300, 180, "KiB"),
            ("lost", "sockets lost", 0, 0, ""),
        )
        for scenario, form in (
            ("fanout_1000", "plain JSON"),
            ("fanout_1000_rows", "JSON rows"),
            ("fanout_1000_protobuf", "Protobuf"),
        )
    ),
    (
        "stalled",
        "delay_p99_ratio",
        "one watcher reads nothing: p99 of the others / without it",
        1.2,
        1.0,
        "times",
        True,
    ),
    ("storm", "all_back_secs", "all 10,000 sockets cut at once: everyone back with a snapshot", 60, 20, "s", True),
    ("relay", "added_p99_millis", "two workers against one: added p99 delay", 50, 10, "ms", True),
)


def rows(found: Found) -> Iterator[Figure]:
    """Yields every row, measured or not."""
    for scenario, name, sentence, at_least, aim, unit, smaller in _ROWS:
        value = found.get(scenario, {}).get("figures", {}).get(name)
        values = () if value is None else (float(value),)
        yield Figure(f"{scenario}: {sentence}", at_least, aim, values, unit, smaller)
