"""A third of the users, and five times all of them for a short while."""

from bench.shapes.base import Shape

BURSTS = 5
BASE_SHARE = 1 / 3
BURST_PART = 0.25  # of the time from one burst to the next


class Burst(Shape):
    """Quiet, then a burst, five times."""

    abstract = False
    at_once = True

    def share(self, progress: float) -> float:
        """The burst stands at the end of each part."""
        within = progress * BURSTS % 1
        return 1.0 if within >= 1 - BURST_PART else BASE_SHARE
