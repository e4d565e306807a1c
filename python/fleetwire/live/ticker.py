"""When ticks are closed: at the same moments on every worker, so that what moved anywhere is in one frame.

    |<------------- tick ------------->|
    T         T + settle               T                  (T: the wall clock is a multiple of the tick)
    publish   close the tick           publish

A worker whose clock is off by more than the settling time publishes at another moment. What it sends does not wait for
the next tick then: `hasten` closes one early.
"""

import asyncio
import contextlib

from fleetwire.runtime import clock


class Ticker:
    """The beats of one loop."""

    def __init__(self, *, tick_millis: int, settle_millis: int) -> None:
        self._tick_millis = tick_millis
        self._settle_millis = settle_millis
        self._last_millis = 0
        self._hastened = asyncio.Event()

    def hasten(self) -> None:
        """The next beat comes after the settling time at the latest."""
        self._hastened.set()

    async def beat(self) -> None:
        """Returns at the next beat; one that was slept through is left out."""
        tick_millis = self._tick_millis
        now_millis = clock.now_millis() - self._settle_millis
        beat_millis = now_millis - now_millis % tick_millis + tick_millis
        if beat_millis == self._last_millis:
            # The sleep before ended a little early.
            beat_millis += tick_millis
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hastened.wait(), (beat_millis - now_millis) / 1000)
            left_millis = beat_millis - clock.now_millis() + self._settle_millis
            await asyncio.sleep(max(0, min(self._settle_millis, left_millis)) / 1000)
        if clock.now_millis() - self._settle_millis >= beat_millis - 1:
            self._last_millis = beat_millis
        self._hastened.clear()
