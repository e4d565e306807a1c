"""Runs the start of a working day: few night drivers, then three shifts log in; after the peak some stop."""

from math import exp

from bench.shapes.shape import Shape

NIGHT_SHARE, DAY_SHARE = 0.05, 0.85
SHIFTS = ((0.25, 0.45), (0.45, 0.35), (0.65, 0.15))
"""(progress of the run, share of the users that log in around it); with the night drivers they add up to 1."""
SPREAD = 0.03
EBB_AT = 0.85


class MorningStart(Shape):
    """One logistic curve per shift."""

    abstract = False

    def share(self, progress: float) -> float:
        """Returns the share of logged-in users."""
        if progress >= EBB_AT:
            return DAY_SHARE
        return NIGHT_SHARE + sum(part / (1 + exp((at - progress) / SPREAD)) for at, part in SHIFTS)
