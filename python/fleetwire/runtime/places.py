"""Bounds on what is held at once, counted by key; a place within several bounds is taken in one step or not at all."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

Leave = Callable[[], None]


class Bound(NamedTuple):
    """A key, how many of it there may be, and its name for answers and metrics."""

    key: Hashable
    most: int
    name: str


class Exceeded(Exception):  # noqa: N818 - the caller turns it into an answer
    """A bound is reached; nothing was taken."""

    def __init__(self, bound: Bound) -> None:
        super().__init__(bound.name)
        self.bound = bound


class Places:
    """Counts what is held now."""

    def __init__(self) -> None:
        self._taken: Counter[Hashable] = Counter()

    def take(self, *bounds: Bound) -> Leave:
        """Takes a place within each bound; what is returned gives it back, and is to be called once.

        Raises:
            Exceeded: there is none left in one of them.
        """
        for bound in bounds:
            if self._taken[bound.key] >= bound.most:
                raise Exceeded(bound)
        keys = [bound.key for bound in bounds]
        self._taken.update(keys)
        return lambda: self._leave(keys)

    def _leave(self, keys: Sequence[Hashable]) -> None:
        for key in keys:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
