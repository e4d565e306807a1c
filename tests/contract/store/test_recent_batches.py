"""The memory of recent batches is a shortcut, and wrong at no moment."""

import asyncio

from harness.fixes import now_millis
from harness.writing import at, writing

BASE_MILLIS = now_millis() - 3_600_000


async def test_what_is_forgotten_during_a_look_at_history_is_not_stored_twice(database, owner, acme):
    """The last batch was left out of the look as remembered; then another committer's connection was replaced."""
    device_id, times = acme.device_ids[0], [BASE_MILLIS + second * 1_000 for second in range(1, 6)]
    async with writing(database, acme.tenant_id) as write:
        for other_id in acme.device_ids[1:]:
            await write.store(other_id, at(times))  # by each committer, so that all have their connection
        assert await write.store(device_id, at(times)) == (5, 0)
        async with owner.transaction():
            await owner.execute("LOCK TABLE track_merged IN ACCESS EXCLUSIVE MODE")
            again = asyncio.ensure_future(write.store(device_id, at([BASE_MILLIS, *times])))
            async with asyncio.timeout(5):
                while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
            write.forget()
        assert await again == (1, 5)
    assert await owner.fetchval("SELECT count(*) FROM fix WHERE device = 'truck-1'") == 6
