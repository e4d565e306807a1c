import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import ConfigError
from fleetwire.simulate import SimulateOptions
from fleetwire.simulate.fleet import _spread
from fleetwire.simulate.outbox import DeviceOutbox


def fix(number):
    return {"timestamp": number}


def test_the_same_batch_comes_until_it_is_acknowledged_and_new_fixes_wait():
    outbox = DeviceOutbox(max_fixes=10)
    outbox.add(fix(1))
    first = outbox.next_batch()
    outbox.add(fix(2))
    assert outbox.next_batch() is first
    assert outbox.unacknowledged == 2
    outbox.acknowledge(first)
    assert outbox.next_batch().fixes == [fix(2)]


def test_an_empty_outbox_has_no_batch():
    assert DeviceOutbox(max_fixes=1).next_batch() is None


def test_a_late_second_receipt_does_not_acknowledge_the_next_batch():
    outbox = DeviceOutbox(max_fixes=10)
    outbox.add(fix(1))
    first = outbox.next_batch()
    outbox.acknowledge(first)
    outbox.add(fix(2))
    second = outbox.next_batch()
    outbox.acknowledge(first)
    assert outbox.next_batch() is second


def test_a_full_outbox_drops_new_fixes_and_counts_them():
    outbox = DeviceOutbox(max_fixes=3)
    for number in range(5):
        outbox.add(fix(number))
    assert outbox.dropped == 2
    assert outbox.next_batch().fixes == [fix(0), fix(1), fix(2)]


@given(st.lists(st.sampled_from(["push", "take", "settle"]), max_size=200), st.integers(1, 20))
def test_every_fix_is_acknowledged_buffered_or_counted_as_dropped_in_order(acts, max_fixes):
    outbox, settled, pushed = DeviceOutbox(max_fixes=max_fixes), [], 0
    for act in acts:
        if act == "push":
            outbox.add(fix(pushed))
            pushed += 1
        elif act == "take":
            outbox.next_batch()
        elif (batch := outbox.next_batch()) is not None:
            settled += [each["timestamp"] for each in batch.fixes]
            outbox.acknowledge(batch)
        assert outbox.unacknowledged <= max_fixes
        assert len(settled) + outbox.unacknowledged + outbox.dropped == pushed
    assert settled == sorted(set(settled))


def test_the_share_of_sockets_is_spread_evenly():
    assert _spread(4, 0.5) == [False, True, False, True]
    assert sum(_spread(200, 0.25)) == 50
    assert not any(_spread(5, 0.0))
    assert all(_spread(5, 1.0))


def test_wrong_options_are_refused_by_name():
    for wrong in ({"vehicles": 0}, {"socket_share": 2.0}, {"max_buffered_fixes": 10_001}, {"send_secs": 0.0}):
        with pytest.raises(ConfigError, match=f"^{next(iter(wrong))}"):
            SimulateOptions(url="http://x", token="fwi_secret", **wrong)
    assert "fwi_secret" not in repr(SimulateOptions(url="http://x", token="fwi_secret"))
