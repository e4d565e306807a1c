"""Everybody from the start."""

from bench.shapes.base import Shape


class Steady(Shape):
    """The same all the time."""

    abstract = False

    def share(self, progress: float) -> float:  # noqa: ARG002 - the same all the time
        """All of them."""
        return 1.0
