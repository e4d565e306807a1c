"""Time limits that share one timer."""

import asyncio

import pytest

from fleetwire.runtime.coarse_timeout import CoarseTimeout


async def test_what_is_in_time_is_left_alone():
    with CoarseTimeout(5):
        await asyncio.sleep(0)


async def test_what_takes_longer_ends_in_a_timeout_and_the_task_goes_on():
    with pytest.raises(TimeoutError), CoarseTimeout(0):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_the_inner_of_two_limits_ends_alone():
    with CoarseTimeout(60):
        with pytest.raises(TimeoutError), CoarseTimeout(0):
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_a_task_cancelled_by_somebody_else_stays_cancelled():
    async def wait():
        with CoarseTimeout(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_limits_end_by_one_timer():
    async def wait():
        with CoarseTimeout(0.1):
            await asyncio.Event().wait()

    answers = await asyncio.gather(*(wait() for _ in range(100)), return_exceptions=True)
    assert all(isinstance(answer, TimeoutError) for answer in answers)


async def test_an_error_passes_through():
    with pytest.raises(ValueError, match="own"), CoarseTimeout(5):
        raise ValueError("own")
