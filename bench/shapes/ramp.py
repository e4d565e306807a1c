"""Evenly more users until the end: where does it bend?"""

from bench.shapes.base import Shape


class Ramp(Shape):
    """From nobody to everybody."""

    abstract = False

    def share(self, progress: float) -> float:
        """A straight line."""
        return progress
