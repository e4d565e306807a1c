"""Background tasks: no error ends one, pauses grow within bounds, and one that cannot go on is named."""

import asyncio

import asyncpg
import pytest
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError

from fleetwire.runtime import supervisor
from fleetwire.runtime.retry import Backoff, RetryState, failures_by_task, retry
from fleetwire.runtime.supervisor import NEVER_UNREADY, supervise

FAST = {"first_secs": 0.001, "max_secs": 0.002}
ERRORS = [
    asyncpg.exceptions.ConnectionDoesNotExistError,  # 08003
    asyncpg.exceptions.NumericValueOutOfRangeError,  # 22003
    asyncpg.exceptions.UniqueViolationError,  # 23505
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # 25006
    asyncpg.exceptions.InvalidPasswordError,  # 28P01
    asyncpg.exceptions.InvalidCatalogNameError,  # 3D000
    asyncpg.exceptions.SerializationError,  # 40001
    asyncpg.exceptions.UndefinedTableError,  # 42P01
    asyncpg.exceptions.DiskFullError,  # 53100
    asyncpg.exceptions.StatementTooComplexError,  # 54001
    asyncpg.exceptions.LockNotAvailableError,  # 55P03
    asyncpg.exceptions.AdminShutdownError,  # 57P01
    asyncpg.exceptions.PostgresIOError,  # 58030
    asyncpg.exceptions.DataCorruptedError,  # XX001
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
    RedisConnectionError,
    MemoryError,
    KeyError,
    asyncio.CancelledError,  # of something that the task waited for
]


class Failing:
    """A step that raises an error a few times, then succeeds once, then waits until it is stopped."""

    def __init__(self, error, times=3):
        self.error, self.left = error, times
        self.succeeded = asyncio.Event()

    async def step(self):
        await asyncio.sleep(0)
        if self.left:
            self.left -= 1
            raise self.error("thrown by a test")
        if self.succeeded.is_set():
            await asyncio.Event().wait()
        self.succeeded.set()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
async def test_no_error_ends_a_supervised_task(error):
    failing = Failing(error)
    failures_before = failures_by_task["test-task"]
    task = supervise(failing.step, name="test-task", backoff=Backoff(**FAST))
    await asyncio.wait_for(failing.succeeded.wait(), 20)
    await asyncio.sleep(0.01)
    assert failures_by_task["test-task"] == failures_before + 3
    assert task.state.failures == 0
    assert not task.is_stuck
    assert task.describe() is None
    await task.stop()
    assert task not in supervisor.supervised()


async def test_a_task_that_does_not_succeed_in_time_is_stuck_until_it_does():
    failing = Failing(OSError, times=1)
    task = supervise(failing.step, name="test-task", backoff=Backoff(first_secs=0.5), unready_after_secs=0.05)
    await asyncio.sleep(0.1)
    assert "test-task" in supervisor.stuck_names()
    assert "test-task has failed for 0 s (1 times, last OSError)" in "".join(supervisor.descriptions())
    await asyncio.wait_for(failing.succeeded.wait(), 20)
    await asyncio.sleep(0)
    assert "test-task" not in supervisor.stuck_names()
    await task.stop()


async def test_a_task_that_was_ended_by_somebody_else_is_stuck_whatever_its_bound():
    task = supervise(asyncio.Event().wait, name="test-task", unready_after_secs=NEVER_UNREADY)
    await asyncio.sleep(0)
    task._task.cancel()
    await asyncio.sleep(0.01)
    assert "test-task" in supervisor.stuck_names()
    assert "The background task test-task has ended; restart this worker." in supervisor.descriptions()
    await task.stop()
    assert "test-task" not in supervisor.stuck_names()


async def test_a_task_that_turns_its_cancellation_into_an_error_still_stops():
    async def step():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError from None

    task = supervise(step, name="test-task")
    await asyncio.sleep(0)
    await asyncio.wait_for(task.stop(), 20)


async def test_a_loop_ends_by_its_condition_after_the_round_at_hand():
    rounds = []

    async def step():
        await asyncio.sleep(0)
        rounds.append(len(rounds))

    task = supervise(step, name="test-task", goes_on=lambda: len(rounds) < 3)
    await task.wait(timeout_secs=20)
    assert rounds == [0, 1, 2]
    assert not task.is_dead
    assert task not in supervisor.supervised()


def test_pauses_grow_within_bounds_and_start_again_after_a_success():
    backoff = Backoff(first_secs=1.0, max_secs=5.0)
    for ceiling_secs in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert ceiling_secs / 2 <= backoff.next_secs() <= ceiling_secs
    backoff.reset()
    assert backoff.next_secs() <= 1.0


async def test_a_success_in_the_middle_of_a_step_ends_a_row_of_failures():
    state = RetryState("test-task", Backoff(first_secs=1.0))
    for _ in range(4):
        state.record_failure(OSError())
    state.record_success()
    assert state.failing_secs == 0.0
    assert state.record_failure(OSError()) <= 1.0


async def test_a_fatal_error_is_raised_at_once():
    async def work():
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        await retry(work, name="test-retry", fatal=(FileNotFoundError,))


async def test_only_the_first_failure_of_a_row_is_logged_with_its_traceback():
    state = RetryState("test-task")
    with structlog.testing.capture_logs() as logs:
        state.record_failure(KeyError("ours"))
        state.record_failure(KeyError("ours"))
        state.record_success()
        state.record_failure(OSError("of the system"))
        state.record_failure(asyncpg.exceptions.InvalidCatalogNameError("of the database"))
    assert [bool(line.get("exc_info")) for line in logs if line["log_level"] == "warning"] == [
        True,
        False,
        False,
        False,
    ]
