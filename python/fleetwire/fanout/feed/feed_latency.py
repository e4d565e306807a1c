"""How old positions are when a watcher's socket has them: two clock readings a tick and one a frame."""

from collections.abc import Callable
from typing import TypeVar

from fleetwire.runtime import clock
from fleetwire.telemetry import metrics

T = TypeVar("T")


class FeedLatency:
    """From the commit of the oldest movement in a tick to the frame that tells of it."""

    def __init__(self) -> None:
        self._committed_secs: float | None = None
        self._ticked_secs: float | None = None

    def counted_from(self, told: Callable[[T], object]) -> Callable[[T], None]:
        """`told`, which is called after each commit; the first one since the last tick counts."""

        def committed(what: T) -> None:
            told(what)
            if self._committed_secs is None:
                self._committed_secs = clock.monotonic_secs()

        return committed

    def ticked(self) -> None:
        """What was committed until now is in the frames from now on."""
        if self._committed_secs is not None:
            self._ticked_secs, self._committed_secs = self._committed_secs, None

    def sent(self) -> None:
        """A frame with the newest tick is in the hands of a socket."""
        if self._ticked_secs is not None:
            metrics.FIX_TO_WATCHER_SECONDS.observe(clock.monotonic_secs() - self._ticked_secs)
