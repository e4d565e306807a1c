"""Runs a third of the users, with five short bursts of all users."""

from bench.shapes.shape import Shape

BURSTS = 5
BASE_SHARE = 1 / 3
BURST_PART = 0.25  # share of the time from one burst to the next


class Burst(Shape):
    """Five bursts, each after a quiet period."""

    abstract = False
    at_once = True

    def share(self, progress: float) -> float:
        """Returns 1 at the end of each part, else the base share."""
        within = progress * BURSTS % 1
        return 1.0 if within >= 1 - BURST_PART else BASE_SHARE
