"""Saves the result of a run, for `python -m bench.compare`."""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import StatsEntry

from bench import machine
from bench.users import counters

QUANTILES = {"p50_millis": 0.5, "p95_millis": 0.95, "p99_millis": 0.99, "max_millis": 1.0}


def register() -> None:
    """Registers the counters, and the saving when Locust ends."""
    counters.register()
    events.quitting.add_listener(_save)


def result(environment: Environment) -> dict[str, Any]:
    """Returns the result of a run."""
    stats = environment.stats
    ended_secs = stats.last_request_timestamp or time.time()
    options = environment.parsed_options
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(Path(tempfile.gettempdir())),
        "versions": machine.versions(),
        "users": {user_class.__name__: user_class.weight for user_class in environment.user_classes},
        "shape": type(environment.shape_class).__name__ if environment.shape_class else None,
        "options": {
            name: getattr(options, name, None)
            for name in ("host", "num_users", "spawn_rate", "run_time", "every_secs", "batch_size", "traces")
        },
        "secs": max(0.0, ended_secs - stats.start_time),
        "counts": dict(counters.counts),
        "entries": [_entry(stats.entries[key]) for key in sorted(stats.entries)],
        "errors": [
            {"name": f"{each.method} {each.name}", "error": str(each.error), "occurrences": each.occurrences}
            for each in stats.errors.values()
        ],
    }


def _entry(entry: StatsEntry) -> dict[str, Any]:
    quantiles = {name: entry.get_response_time_percentile(quantile) for name, quantile in QUANTILES.items()}
    return {
        "name": f"{entry.method} {entry.name}",
        "requests": entry.num_requests,
        "failures": entry.num_failures,
        "requests_per_sec": entry.total_rps,
        **quantiles,
    }


def _save(environment: Environment, **_: Any) -> None:  # noqa: ANN401 - Locust's own
    folder = Path(environment.parsed_options.save)
    # The first request starts Locust's clock; without one there is no result.
    if (
        isinstance(environment.runner, WorkerRunner)
        or not environment.parsed_options.save
        or not environment.stats.num_requests
    ):
        return
    found = result(environment)
    folder.mkdir(parents=True, exist_ok=True)
    stamp = f"{found['date'][:16].replace(':', '')}-{found['commit']}-{found['machine']['name']}"
    path = folder / f"{stamp}-locust.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found, enc_hook=str), indent=1) + b"\n")
    print(path)
