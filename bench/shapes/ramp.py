"""Increases the users evenly until the end, to find the limit."""

from bench.shapes.shape import Shape


class Ramp(Shape):
    """Linear ramp from no users to all."""

    abstract = False

    def share(self, progress: float) -> float:
        """Returns the progress."""
        return progress
