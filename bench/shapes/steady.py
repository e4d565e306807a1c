"""Runs all users from the start."""

from bench.shapes.shape import Shape


class Steady(Shape):
    """Constant load."""

    abstract = False

    def share(self, progress: float) -> float:  # noqa: ARG002 - constant
        """Returns 1."""
        return 1.0
