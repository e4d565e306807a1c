"""A working day's start: a few night drivers, then shift after shift logs on; after the peak some go quiet."""

from math import exp

from bench.shapes.base import Shape

NIGHT_SHARE, DAY_SHARE = 0.05, 0.85
SHIFTS = ((0.25, 0.45), (0.45, 0.35), (0.65, 0.15))
"""(when in the run, share of the users that log on around then); with the night drivers they are all."""
SPREAD = 0.03
EBB_AT = 0.85


class MorningStart(Shape):
    """An S for every shift."""

    abstract = False

    def share(self, progress: float) -> float:
        """Those who logged on so far."""
        if progress >= EBB_AT:
            return DAY_SHARE
        return NIGHT_SHARE + sum(part / (1 + exp((at - progress) / SPREAD)) for at, part in SHIFTS)
