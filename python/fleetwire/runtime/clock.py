"""The clocks, in one place, so that tests and replays can say what time it is."""

import time
from datetime import datetime


def now_millis() -> int:
    """Wall clock, milliseconds since 1970 UTC; may jump when the machine's clock is set."""
    return time.time_ns() // 1_000_000


def millis_of(moment: datetime) -> int:
    """A moment of the database in milliseconds since 1970 UTC."""
    return int(moment.timestamp() * 1000)


monotonic_secs = time.monotonic
"""Seconds from an arbitrary start; never goes back. For durations, time limits and rates."""
