"""Everybody is there, everybody is cut at once, and everybody comes back at once: a network that was away."""

from bench.shapes.base import Shape

CUT_AT, BACK_AT = 0.4, 0.55  # Locust looks once a second: of a run under 10 s it would miss this


class ReconnectStorm(Shape):
    """Sockets close when their users stop. `loadgen fleet --cut-at-secs` does the same with more of them."""

    abstract = False
    at_once = True

    def share(self, progress: float) -> float:
        """All, none, all."""
        return 0.0 if CUT_AT <= progress < BACK_AT else 1.0
