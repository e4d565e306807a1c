"""How long a call takes: many short series, of which the median is quoted."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

SERIES = 15
SERIES_SECS = 0.1


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Times calls; `quick` only shows that they work."""

    quick: bool = False

    def interleaved(self, *calls: Callable[[], object]) -> list[float]:
        """Microseconds of one call each: a series of each in turn, so that all of them meet the same machine.

        The collector of garbage is out of the way.
        """
        counts = [self._calls_per_series(call) for call in calls]
        times: list[list[float]] = [[] for _ in calls]
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            for _ in range(3 if self.quick else SERIES):
                for call, count, found in zip(calls, counts, times, strict=True):
                    found.append(_series(call, count) / count * 1e6)
        finally:
            gc.enable()
            gc.unfreeze()
        return [median(found) for found in times]

    def _calls_per_series(self, call: Callable[[], object]) -> int:
        once = min(_series(call, 1) for _ in range(5))
        return max(1, int((0.002 if self.quick else SERIES_SECS) / max(once, 1e-7)))


def _series(call: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - started
