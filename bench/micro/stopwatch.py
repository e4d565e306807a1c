"""Times calls in many short series and returns medians."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

SERIES = 15
SERIES_SECS = 0.1


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Times calls; `quick` makes a smoke run."""

    quick: bool = False

    def interleaved(self, *calls: Callable[[], object]) -> list[float]:
        """Returns the median microseconds of each call; their series take turns, so that load affects all alike.

        Garbage collection is disabled meanwhile.
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
