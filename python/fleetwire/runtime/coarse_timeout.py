"""Time limits for the hot way, all kept by one timer.

A timer for each would cost a request as much as its decoding. In exchange a limit is kept to within `SWEEP_SECS`.
"""

import asyncio
from types import TracebackType
from typing import Self

from fleetwire.runtime import clock

SWEEP_SECS = 0.25


class CoarseTimeout:
    """`with TimeLimit(secs):` around awaits; cancels what takes longer, and raises TimeoutError in its place."""

    __slots__ = ("_cancelling", "_due_secs", "_expired", "_loop", "_secs", "_task")

    def __init__(self, secs: float) -> None:
        # Asked for once: each question is a system call, as the loop must not be that of a process forked from.
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("A time limit needs a task to cancel.")
        self._task = task
        self._cancelling = task.cancelling()
        self._secs = secs
        self._due_secs = clock.monotonic_secs() + secs
        self._expired = False

    def __enter__(self) -> Self:
        _sweeper.limits.add(self)
        _sweeper.run(self._loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _sweeper.limits.discard(self)
        # Somebody else may have cancelled the task too; then it ends cancelled, not late.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def renew(self) -> None:
        """Begins the time anew, as something was done."""
        self._due_secs = clock.monotonic_secs() + self._secs

    def expire_if_due(self, now_secs: float) -> None:
        """Cancels the task once when its time is over."""
        if not self._expired and now_secs >= self._due_secs:
            self._expired = True
            self._task.cancel()


class _Sweeper:
    """Looks at all limits now and then, as long as there are any."""

    def __init__(self) -> None:
        self.limits: set[CoarseTimeout] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(SWEEP_SECS, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now_secs = clock.monotonic_secs()
        for limit in list(self.limits):
            limit.expire_if_due(now_secs)
        self._loop = None
        if self.limits:
            self.run(loop)


_sweeper = _Sweeper()
