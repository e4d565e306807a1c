"""Stops all users at once and restarts them at once, like an outage of the network."""

from bench.shapes.shape import Shape

CUT_AT, BACK_AT = 0.4, 0.55  # Locust checks once a second: a run under 10 s would miss the cut


class ReconnectStorm(Shape):
    """Closes all sockets and reopens them. `loadgen fleet --cut-at-secs` does the same with more sockets."""

    abstract = False
    at_once = True

    def share(self, progress: float) -> float:
        """Returns 0 during the outage, else 1."""
        return 0.0 if CUT_AT <= progress < BACK_AT else 1.0
