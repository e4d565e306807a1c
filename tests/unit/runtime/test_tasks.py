"""Background tasks: one that ends by itself is left to, within bounds."""

import asyncio
import time

from fleetwire.runtime.tasks import finish, spawn


async def test_a_task_that_ends_by_itself_is_not_cut_off():
    ended = []

    async def work():
        await asyncio.sleep(0.05)
        ended.append(True)

    await finish(spawn(work(), name="work"), within_secs=20)
    assert ended == [True]
    await finish(None, within_secs=20)


async def test_a_task_that_does_not_end_is_cancelled():
    task = spawn(asyncio.sleep(60), name="work")
    began_secs = time.monotonic()
    await finish(task, within_secs=0.05)
    assert task.cancelled()
    assert time.monotonic() - began_secs < 20
