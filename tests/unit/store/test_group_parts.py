"""How a group comes apart, and which devices are known to be slow."""

from types import SimpleNamespace

import pytest

from fleetwire.runtime import clock
from fleetwire.store import group_bounds, group_parts
from fleetwire.store.group_bounds import FarBack, TooSlow, out_of_bounds
from fleetwire.store.group_parts import Part, SlowDevices

DAY_MILLIS = 86_400_000


def of_device(number):
    return SimpleNamespace(device=(1, number))


@pytest.mark.parametrize(
    ("batches", "parts", "sizes"), [(16, 8, [2] * 8), (3, 8, [1] * 3), (5, 2, [3, 2]), (2, 2, [1, 1])]
)
def test_a_part_is_cut_into_smaller_ones(batches, parts, sizes):
    cut = Part(list(range(batches)), waits_for_locks=True).cut(parts)
    assert [len(part.waiting) for part in cut] == sizes
    assert [each for part in cut for each in part.waiting] == list(range(batches))
    assert all(part.waits_for_locks for part in cut)


def test_slow_devices_are_forgotten_after_a_minute_and_are_not_more_than_there_is_room_for(monkeypatch):
    now_secs = 0.0
    monkeypatch.setattr(clock, "monotonic_secs", lambda: now_secs)
    monkeypatch.setattr(group_parts, "MAX_SLOW_DEVICES", 2)
    slow = SlowDevices()
    assert not slow
    for number in range(3):
        slow.note(of_device(number))
    assert [slow.includes(of_device(number)) for number in range(3)] == [True, True, False]
    now_secs = group_parts.SLOW_DEVICE_SECS
    slow.note(of_device(2))
    assert [slow.includes(of_device(number)) for number in range(3)] == [False, False, True]
    now_secs *= 2
    assert not slow.includes(of_device(2))
    assert not slow


def test_much_history_of_one_device_goes_apart_and_of_many_devices_is_divided():
    days = group_bounds.MAX_DEVICE_DAYS
    far = [(1, 7, day * DAY_MILLIS, day * DAY_MILLIS) for day in range(days + 1)]
    assert out_of_bounds(far[:-1]) is None
    divisible = out_of_bounds(far)
    assert isinstance(divisible, FarBack)
    assert divisible.devices == {(1, 7)}
    clusters = [(1, 7, hour * 3_600_000, hour * 3_600_000) for hour in range(24 * days)]
    assert out_of_bounds(clusters) is None, "many clusters of few days"
    many = [(1, device, 0, 0) for device in range(group_bounds.MAX_GROUP_DAYS + 1)]
    assert out_of_bounds(many[:-1]) is None
    assert isinstance(out_of_bounds(many), TooSlow)
