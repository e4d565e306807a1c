"""Retries of work that has to succeed sooner or later, with growing, bounded, jittered pauses between the tries.

    retry       awaits one piece of work until it succeeds
    RetryState  counts and logs the failures of one piece of work in a row, and says how long to wait; for loops that
                cannot use `retry`, such as one in a thread
    Backoff     the pauses alone

No class of errors ends a retry: whether an error passes by itself is only known when it has. What must not be tried
again is named by the caller (`fatal`), and a cancellation is passed on.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from fleetwire.runtime import clock

T = TypeVar("T")

FIRST_PAUSE_SECS: Final = 0.1
MAX_PAUSE_SECS: Final = 5.0

_DRIVERS: Final = {"asyncpg", "redis"}

failures_by_task: Counter[str] = Counter()
"""Failed tries in this process by the name of their task; read by the metrics."""

_log = structlog.get_logger(__name__)


class Backoff:
    """Pauses that double from `first_secs` to `max_secs`.

    Each is shortened at random by up to a half, so that the workers of a restarted server do not come back as one.
    """

    def __init__(self, *, first_secs: float = FIRST_PAUSE_SECS, max_secs: float = MAX_PAUSE_SECS) -> None:
        self._first_secs = first_secs
        self._max_secs = max_secs
        self._ceiling_secs = first_secs

    def next_secs(self) -> float:
        """Returns the pause before the next try."""
        pause_secs = self._ceiling_secs * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
        self._ceiling_secs = min(2 * self._ceiling_secs, self._max_secs)
        return pause_secs

    def reset(self) -> None:
        """Begins with the shortest pause again."""
        self._ceiling_secs = self._first_secs


class RetryState:
    """The failures of one piece of work since it last succeeded."""

    def __init__(self, name: str, backoff: Backoff | None = None) -> None:
        self.name = name
        self.failures = 0
        """Since the last success."""
        self.last_error = ""
        """The class of the last error, without its text: that may hold what belongs to a tenant."""
        self.pause_secs = 0.0
        """The pause before the next try."""
        self._backoff = backoff or Backoff()
        self._failing_since_secs: float | None = None

    @property
    def failing_secs(self) -> float:
        """Seconds since the first failure after the last success; 0 if the last try succeeded."""
        return 0.0 if self._failing_since_secs is None else clock.monotonic_secs() - self._failing_since_secs

    def record_failure(self, error: BaseException) -> float:
        """Counts and logs a failed try; returns the pause before the next one."""
        if self._failing_since_secs is None:
            self._failing_since_secs = clock.monotonic_secs()
        is_first = self.failures == 0
        self.failures += 1
        failures_by_task[self.name] += 1
        self.last_error = type(error).__name__
        self.pause_secs = self._backoff.next_secs()
        _log.warning(
            "A background task failed and is tried again.",
            task=self.name,
            error=repr(error),
            failures=self.failures,
            next_try_secs=round(self.pause_secs, 2),
            exc_info=error if is_first and not _is_from_outside(error) else None,
        )
        return self.pause_secs

    def record_success(self) -> None:
        """Ends a row of failures."""
        if self._failing_since_secs is None:
            return
        _log.info("A background task succeeds again.", task=self.name, failures=self.failures)
        self.failures, self.pause_secs, self._failing_since_secs = 0, 0.0, None
        self._backoff.reset()


async def retry(
    work: Callable[[], Awaitable[T]],
    *,
    name: str,
    state: RetryState | None = None,
    fatal: tuple[type[Exception], ...] = (),
) -> T:
    """Awaits `work()` until it succeeds, and returns its result.

    Args:
        work: is called again after each failure, and must then do all that it failed at.
        name: of the task, for the log and the metrics.
        state: in which the failures are recorded, if the caller looks at them.
        fatal: errors that are raised at once.
    """
    state = state or RetryState(name)
    while True:
        try:
            result = await work()
        except fatal:
            raise
        except (Exception, asyncio.CancelledError) as error:
            # The work may turn a cancellation into an error of its own; and what it waited for may be cancelled without
            # the task itself.
            if _is_being_cancelled():
                raise asyncio.CancelledError from error
            pause_secs = state.record_failure(error)
        else:
            state.record_success()
            return result
        await asyncio.sleep(pause_secs)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _is_from_outside(error: BaseException) -> bool:
    """Whether the system, the database or Redis reported it: a traceback would add nothing to its text."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _DRIVERS
