"""One rendering at a time for one key: who comes while it is being made waits for the same answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fleetwire import tasks
from fleetwire.cache.entry import Entry
from fleetwire.errors import Overloaded
from fleetwire.timelimit import TimeLimit

MAX_FLIGHTS: Final = 256  # distinct answers being made; each waits for one of a few connections
WAIT_SECS: Final = 10.0


class Flight:
    """An answer that is being made."""

    __slots__ = ("is_known", "is_outdated", "tags", "task")

    task: asyncio.Task[Entry]

    def __init__(self, tags: tuple[bytes, ...]) -> None:
        self.tags = tags
        self.is_outdated = False
        """A write came in between: the answer is for those who asked before it, and is not kept."""
        self.is_known = False
        """The second level had it: no handler ran."""


class Flights:
    """The answers being made, by key."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Flight] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def join(self, key: bytes, tags: tuple[bytes, ...], make: Callable[[Flight], Coroutine[Any, Any, Entry]]) -> Flight:
        """The flight that makes the answer, begun here if nobody else did.

        A task of its own: whoever began it may go away without taking the answer along.

        Raises:
            Overloaded: 503 `cache_busy`.
        """
        flight = self._by_key.get(key)
        if flight is None:
            if len(self._by_key) >= MAX_FLIGHTS:
                self.refused += 1
                raise _busy()
            flight = self._by_key[key] = Flight(tags)
            flight.task = tasks.spawn(make(flight), name="cache-fill")
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    async def wait(self, flight: Flight) -> Entry:
        """The answer, when it is there.

        Raises:
            Overloaded: 503 `cache_busy`, it takes too long.
        """
        try:
            with TimeLimit(WAIT_SECS):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            self.refused += 1
            raise _busy() from None

    def outdate(self, tag: bytes | None) -> None:
        """What is being made and rests on a tag (None: all of it) is not kept, and nobody else joins it."""
        for key, flight in list(self._by_key.items()):
            if tag is None or tag in flight.tags:
                flight.is_outdated = True
                del self._by_key[key]

    async def stop(self) -> None:
        """Ends what is being made."""
        for flight in list(self._by_key.values()):
            await tasks.cancel(flight.task)

    def _land(self, key: bytes, flight: Flight) -> None:
        # Another flight may have begun under the key since this one was outdated.
        if self._by_key.get(key) is flight:
            del self._by_key[key]


def _busy() -> Overloaded:
    return Overloaded("cache_busy", "Too much is being read for the first time.", retry_after_secs=1)
