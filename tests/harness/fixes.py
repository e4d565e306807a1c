"""Fixes to send."""

import itertools
import time
from typing import Any

_counter = itertools.count()


def now_millis() -> int:
    """Wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


def fix(timestamp: Any = None, **members: Any) -> dict[str, Any]:
    """A good fix; without a time, one of the last hours that no other call gave."""
    if timestamp is None:
        # Counted up from three hours ago, so that later calls are newer and none is ahead of the clock.
        timestamp = now_millis() - 3 * 3_600_000 + next(_counter) * 1_000
    return {"timestamp": timestamp, "latitude": 48.137154, "longitude": 11.576124, **members}


def track(count: int, *, start_millis: int | None = None, step_millis: int = 1_000) -> list[dict[str, Any]]:
    """Fixes in order of time, each at a place of its own."""
    start = now_millis() - 2 * 3_600_000 if start_millis is None else start_millis
    return [
        fix(start + step * step_millis, latitude=round(48 + step * 1e-5, 7), longitude=round(11 + step * 2e-5, 7))
        for step in range(count)
    ]
