"""One piece of work at a time for one key: who comes while it is being done waits for the same answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from fleetwire.errors import Overloaded
from fleetwire.runtime import tasks
from fleetwire.runtime.coarse_timeout import CoarseTimeout

Answer = TypeVar("Answer")


class Flight(Generic[Answer]):
    """An answer that is being made."""

    __slots__ = ("is_known", "is_outdated", "tags", "task")

    task: asyncio.Task[Answer]

    def __init__(self, tags: tuple[bytes, ...]) -> None:
        self.tags = tags
        self.is_outdated = False
        """A write came in between: the answer is for those who asked before it, and is not kept."""
        self.is_known = False
        """Somebody else had it: it was not made here."""


class SingleFlight(Generic[Answer]):
    """The answers being made, by key; a bounded number of keys, so that what is new does not keep out what is known."""

    def __init__(self, name: str, *, most: int, busy: Callable[[], Overloaded], wait_secs: float | None = None) -> None:
        """Of at most so many keys.

        Args:
            name: of the tasks, for logs.
            most: a further key is refused.
            busy: the refusal.
            wait_secs: how long one who waits does; None: as long as the work takes.
        """
        self._name = name
        self._most = most
        self._busy = busy
        self._wait_secs = wait_secs
        self._by_key: dict[bytes, Flight[Answer]] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def join(
        self, key: bytes, make: Callable[[Flight[Answer]], Coroutine[Any, Any, Answer]], *, tags: tuple[bytes, ...] = ()
    ) -> Flight[Answer]:
        """The flight that makes the answer, begun here if nobody else did.

        A task of its own: whoever began it may go away without taking the answer along. `make` should not raise: a
        failure is an answer that all who wait share. `tags` are what the answer rests on.

        Raises:
            Overloaded: there are too many.
        """
        flight = self._by_key.get(key)
        if flight is None:
            if len(self._by_key) >= self._most:
                raise self._refusal()
            flight = self._by_key[key] = Flight(tags)
            flight.task = tasks.spawn(make(flight), name=self._name)
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    async def wait(self, flight: Flight[Answer]) -> Answer:
        """The answer, when it is there.

        Raises:
            Overloaded: it takes too long.
        """
        if self._wait_secs is None:
            return await asyncio.shield(flight.task)
        try:
            with CoarseTimeout(self._wait_secs):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise self._refusal() from None

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

    def _refusal(self) -> Overloaded:
        self.refused += 1
        return self._busy()

    def _land(self, key: bytes, flight: Flight[Answer]) -> None:
        # Another flight may have begun under the key since this one was outdated.
        if self._by_key.get(key) is flight:
            del self._by_key[key]
