"""The border of the bounded map: references and re-entrance. Its order and life are tested in Rust."""

import gc
import sys
import threading
import weakref

import pytest

from fleetwire import _core


class Value:
    """Something that tells when it is gone."""


def test_value_comes_back_as_itself_until_its_life_is_over():
    lru = _core.Lru(capacity=2, ttl_millis=60_000)
    value = Value()
    lru.put(b"key", value, now_millis=1_000)
    assert lru.get(b"key", now_millis=60_999) is value
    assert lru.get(b"other", now_millis=1_000) is None
    assert len(lru) == 1
    assert lru.get(b"key", now_millis=61_000) is None
    assert len(lru) == 0


def test_longest_unused_goes_first():
    lru = _core.Lru(capacity=2, ttl_millis=60_000)
    for key in (b"a", b"b"):
        lru.put(key, key, now_millis=0)
    assert lru.get(b"a", now_millis=0) == b"a"
    lru.put(b"c", b"c", now_millis=0)
    assert [lru.get(key, now_millis=0) for key in (b"a", b"b", b"c")] == [b"a", None, b"c"]


def test_remove_and_clear():
    lru = _core.Lru(capacity=5, ttl_millis=60_000)
    for key in (b"a", b"b", b"c"):
        lru.put(key, key, now_millis=0)
    assert lru.remove(b"a")
    assert not lru.remove(b"a")
    lru.clear()
    assert len(lru) == 0
    assert lru.get(b"b", now_millis=0) is None


def test_bytes_bound_the_map_as_well():
    lru = _core.Lru(capacity=10, ttl_millis=60_000, max_bytes=100)
    for key in (b"a", b"b", b"c"):
        lru.put(key, key, now_millis=0, size_bytes=40)
    assert [lru.get(key, now_millis=0) for key in (b"a", b"b", b"c")] == [None, b"b", b"c"]
    assert lru.size_bytes == 80
    lru.put(b"large", b"large", now_millis=0, size_bytes=101)
    assert (lru.get(b"large", now_millis=0), len(lru), lru.size_bytes) == (None, 2, 80)


def test_an_entry_may_have_a_life_and_tags_of_its_own():
    lru = _core.Lru(capacity=10, ttl_millis=60_000)
    lru.put(b"short", 1, now_millis=0, ttl_millis=5, tags=[b"red"])
    lru.put(b"long", 2, now_millis=0, tags=(b"red", b"blue"))
    lru.put(b"other", 3, now_millis=0, tags=[b"blue"])
    assert lru.get(b"short", now_millis=5) is None
    assert lru.remove_tag(b"red") == 1
    assert lru.remove_tag(b"red") == 0
    assert (lru.get(b"long", now_millis=5), lru.get(b"other", now_millis=5)) == (None, 3)
    for wrong in ({"tags": ["text"]}, {"tags": 5}, {"size_bytes": -1}):
        with pytest.raises((TypeError, OverflowError)):
            lru.put(b"key", 1, now_millis=0, **wrong)


def drop_by_replacement(lru):
    lru.put(b"key", None, now_millis=0)


def drop_by_pressure(lru):
    lru.put(b"other", None, now_millis=0)


def drop_by_age(lru):
    assert lru.get(b"key", now_millis=60_000) is None


def drop_by_removal(lru):
    assert lru.remove(b"key")


def drop_by_clearing(lru):
    lru.clear()


def drop_by_tag(lru):
    assert lru.remove_tag(b"tag") == 1


DROPS = [drop_by_replacement, drop_by_pressure, drop_by_age, drop_by_removal, drop_by_clearing, drop_by_tag]


@pytest.mark.parametrize("drop", DROPS)
def test_nothing_is_kept_alive(drop):
    lru = _core.Lru(capacity=1, ttl_millis=60_000)
    value = Value()
    gone = weakref.ref(value)
    lru.put(b"key", value, now_millis=0, tags=[b"tag"])
    del value
    gc.collect()
    assert gone() is not None
    drop(lru)
    assert gone() is None


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.timeout(10, method="thread")  # A signal cannot interrupt a wait for the lock.
def test_value_that_uses_the_map_while_it_dies_does_not_block(drop):
    lru = _core.Lru(capacity=1, ttl_millis=60_000)
    lengths = []

    class Reentrant:
        def __del__(self):
            lengths.append(len(lru))
            lru.put(b"grave", None, now_millis=0)

    lru.put(b"key", Reentrant(), now_millis=0, tags=[b"tag"])
    drop(lru)
    assert len(lengths) == 1
    assert len(lru) == 1


def test_keys_are_bytes_and_limits_are_plausible():
    lru = _core.Lru(capacity=1, ttl_millis=1)
    for key in ("key", bytearray(b"key"), 5):
        with pytest.raises(TypeError):
            lru.get(key, now_millis=0)
    for wrong in ({"capacity": 0, "ttl_millis": 1}, {"capacity": 1, "ttl_millis": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            _core.Lru(**wrong)
    with pytest.raises(TypeError):
        _core.Lru(1, 1)


def test_threads_share_one_map():
    lru = _core.Lru(capacity=16, ttl_millis=60_000)
    faults = []
    switch_secs = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(number):
        for turn in range(2_000):
            key = bytes([(number + turn) % 24])
            lru.put(key, key, now_millis=turn)
            if lru.get(key, now_millis=turn) not in {key, None}:
                faults.append(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(switch_secs)
    assert faults == []
    assert len(lru) == 16
