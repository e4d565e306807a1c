"""A group that cannot be stored as a whole comes apart until the batch at fault stands alone; the others are stored."""

import asyncio

import pytest

from fleetwire.errors import Overloaded
from fleetwire.telemetry import metrics
from harness.fixes import now_millis
from harness.writing import at


async def stored_together(write, devices):
    """One batch of each device, all waiting when the group is taken."""
    times = at([now_millis()])
    return await asyncio.gather(*(write.store(device_id, times) for device_id in devices), return_exceptions=True)


@pytest.mark.parametrize("wrong", range(5))
async def test_a_check_violation_refuses_the_batch_at_fault_alone(owner, acme, write, wrong):
    """Wherever in its group it stands."""
    device_id = acme.device_ids[wrong]
    await owner.execute(f"ALTER TABLE track_segment ADD CONSTRAINT none_of_it CHECK (device_id <> {device_id})")
    outcomes = await stored_together(write, acme.device_ids)
    refused = outcomes.pop(wrong)
    assert outcomes == [(1, 0)] * 4
    assert isinstance(refused, Overloaded)
    assert refused.code == "store_failed"
    assert metrics.COMMIT_TIMEOUTS._value.get() == 0
    await owner.execute("ALTER TABLE track_segment DROP CONSTRAINT none_of_it")
    assert await write.store(device_id, at([now_millis()])) == (1, 0)
