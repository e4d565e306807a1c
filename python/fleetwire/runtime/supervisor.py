"""Supervision of a worker's background loops: no error ends one, and one that cannot go on makes the worker unready.

    supervise(step) -> [ await step() -> succeeded -+          SupervisedTask, in `supervised()` until it is stopped
                         ^                          |
                         +-- pause <- failed <------+ ]

A background loop is written as a step: an async function that waits until there is something to do, does it once and
returns. The supervisor awaits it again and again. Whatever it raises is logged, counted by the task's name, and waited
on with growing, bounded pauses; then the step is called again, and must do what it failed at. So a step takes work out
of its queue when the work is done, or puts it back.

A task is stuck when it has ended without being stopped, or has not succeeded for `unready_after_secs` since it began to
fail. `/readyz` answers 503 with the names of stuck tasks, `/health` describes every failing one.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from fleetwire.runtime import tasks
from fleetwire.runtime.retry import Backoff, RetryState, retry

UNREADY_AFTER_SECS: Final = 60.0
"""How long a task may fail before its worker is taken out of traffic: longer than a restart of a database takes."""
NEVER_UNREADY: Final = math.inf
"""For tasks without which a worker still stores and shows everything, such as maintenance."""

_supervised: set["SupervisedTask"] = set()


class SupervisedTask:
    """A background loop that runs until it is stopped; made by `supervise`."""

    def __init__(
        self,
        step: Callable[[], Awaitable[object]],
        state: RetryState,
        *,
        unready_after_secs: float,
        goes_on: Callable[[], bool],
    ) -> None:
        self.state = state
        self._step = step
        self._unready_after_secs = unready_after_secs
        self._goes_on = goes_on
        self._is_stopping = False
        self._has_ended = False
        self._task = tasks.spawn(self._run(), name=state.name)
        _supervised.add(self)

    @property
    def name(self) -> str:
        """The task's name in the log, the metrics and `/health`."""
        return self.state.name

    @property
    def is_dead(self) -> bool:
        """Whether it ended although nobody stopped it."""
        return self._task.done() and not self._is_stopping and not self._has_ended

    @property
    def is_stuck(self) -> bool:
        """Whether it cannot go on, as far as anybody knows."""
        return self.is_dead or self.state.failing_secs > self._unready_after_secs

    def describe(self) -> str | None:
        """Returns a sentence about the failures; None if there are none. Without anything of a tenant."""
        if self.is_dead:
            return f"The background task {self.name} has ended; restart this worker."
        if not (failing_secs := self.state.failing_secs):
            return None
        return (
            f"The background task {self.name} has failed for {failing_secs:.0f} s "
            f"({self.state.failures} times, last {self.state.last_error}) and is tried again."
        )

    def record_success(self) -> None:
        """Ends a row of failures in the middle of a step, for one that returns only when its connection breaks."""
        self.state.record_success()

    async def stop(self) -> None:
        """Cancels the step at hand and ends the loop."""
        self._is_stopping = True
        _supervised.discard(self)
        await tasks.cancel(self._task)

    async def wait(self, *, timeout_secs: float) -> None:
        """Waits until the loop has been ended by `goes_on`, at most for so long."""
        await asyncio.wait([self._task], timeout=timeout_secs)

    async def _run(self) -> None:
        while not self._is_stopping and self._goes_on():
            await retry(self._step, name=self.name, state=self.state)
        self._has_ended = True
        _supervised.discard(self)


def supervise(
    step: Callable[[], Awaitable[object]],
    *,
    name: str,
    backoff: Backoff | None = None,
    unready_after_secs: float = UNREADY_AFTER_SECS,
    goes_on: Callable[[], bool] = lambda: True,
) -> SupervisedTask:
    """Starts a background loop that awaits `step` again and again, whatever it raises.

    Args:
        step: one round; waits for what there is to do, and keeps or puts back what it fails at.
        name: one of a few, in lower case with hyphens; a label of the metrics.
        backoff: the pauses after failures, if not the usual ones.
        unready_after_secs: how long it may fail before the worker is unready; `NEVER_UNREADY` if that changes nothing.
        goes_on: is asked before each round; False ends the loop.
    """
    return SupervisedTask(step, RetryState(name, backoff), unready_after_secs=unready_after_secs, goes_on=goes_on)


def supervised() -> list[SupervisedTask]:
    """Returns the background loops of this process by name."""
    return sorted(_supervised, key=lambda task: task.name)


def stuck_names() -> list[str]:
    """Returns the names of tasks that cannot go on; with one of them a worker is not ready."""
    return [task.name for task in supervised() if task.is_stuck]


def descriptions() -> list[str]:
    """Returns a sentence for each task that fails or has ended."""
    return [sentence for task in supervised() if (sentence := task.describe()) is not None]


async def stop(task: SupervisedTask | None) -> None:
    """Stops a task that may not have been started."""
    if task is not None:
        await task.stop()
