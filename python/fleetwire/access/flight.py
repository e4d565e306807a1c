"""One question at a time for one key: who comes while it is being asked waits for the same answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from fleetwire import metrics, tasks
from fleetwire.errors import Overloaded

Answer = TypeVar("Answer")


class SingleFlight(Generic[Answer]):
    """Asks once per key however many ask at once.

    `at_once` questions run together and at most `waiting` distinct keys are in the air; a further key is refused, since
    an endless queue of unknown tokens would keep known ones from being looked up at all.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._in_the_air: dict[bytes, asyncio.Task[Answer]] = {}
        self._turn = asyncio.Semaphore(at_once)
        self._waiting = waiting

    async def ask(self, key: bytes, question: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The answer to `question`, which should not raise: a failure is an answer that all who wait share.

        Cancelling one who waits leaves the question running for the others.

        Raises:
            Overloaded: 503 `access_busy`.
        """
        task = self._in_the_air.get(key)
        if task is None:
            if len(self._in_the_air) >= self._waiting:
                metrics.ACCESS_LOOKUPS_REFUSED.inc()
                raise Overloaded("access_busy", "Too many unknown credentials at once.", retry_after_secs=1)
            task = tasks.spawn(self._run(question), name="access-lookup")
            self._in_the_air[key] = task
            task.add_done_callback(lambda _: self._in_the_air.pop(key, None))
        return await asyncio.shield(task)

    async def _run(self, question: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        async with self._turn:
            return await question()

    def __len__(self) -> int:
        return len(self._in_the_air)
