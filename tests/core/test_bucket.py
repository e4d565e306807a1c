"""The border of the token buckets, and that the file of vectors is what the reference says."""

import json
import threading
from pathlib import Path

import pytest

from fleetwire import _core
from harness import buckets as reference

VECTORS = Path(__file__).with_name("bucket_vectors.json")
MINUTE_MICROS = 60_000_000


def policy(name="policy", quota=10, burst=10, within=None):
    return _core.Policy(name, quota=quota, period_micros=MINUTE_MICROS, burst=burst, within=within)


def test_the_vectors_are_those_of_the_reference():
    assert VECTORS.read_text() == reference.as_json()


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text()), ids=lambda vector: vector["name"])
def test_the_core_passes_the_vectors(vector):
    found = _core.Buckets(max_keys=10)
    inner, *outer = vector["rates"]
    chain = [_core.Policy("outer", quota=rate[0], period_micros=rate[1], burst=rate[2]) for rate in outer]
    chain.insert(
        0, _core.Policy("p", quota=inner[0], period_micros=inner[1], burst=inner[2], within=(chain or [None])[0])
    )
    keys = ["key", ""]
    for take in vector["takes"]:
        now = take["now_micros"]
        if take["force"]:
            for each, key, left in zip(chain, keys, take["left"], strict=False):
                found.settle(each, "scope", key, left[1], now)
        else:
            refused = found.take(chain[0], "scope", "key", take["cost"], now)
            index, wait = (-1, 0) if refused is None else (chain.index(refused[0]), refused[1])
            assert (index, wait) == (take["refused_by"], take["wait_micros"])
        assert [list(found.left(each, "scope", key, now)) for each, key in zip(chain, keys, strict=False)] == take[
            "left"
        ]


def test_a_bucket_is_known_by_policy_scope_and_key():
    found, other = _core.Buckets(max_keys=10), policy("other")
    one = policy(burst=1)
    assert found.take(one, "acme", "van", 1, 1) is None
    assert found.take(one, "acme", "van", 1, 1) == (one, MINUTE_MICROS // 10)
    for each, scope, key in ((one, "acme", "bus"), (one, "ac", "mevan"), (one, "", "acmevan"), (other, "acme", "van")):
        assert found.take(each, scope, key, 1, 1) is None
    assert (one.allowed, one.refused, other.allowed) == (4, 1, 1)
    assert found.drained(1) == 5
    assert found.drained(MINUTE_MICROS) == 0


def test_the_outer_policy_refuses_for_all_keys_of_the_scope():
    outer = policy("outer", burst=3)
    inner, found = policy("inner", burst=2, within=outer), _core.Buckets(max_keys=10)
    assert [found.take(inner, "acme", key, 1, 1) for key in "aab"] == [None] * 3
    assert found.take(inner, "acme", "a", 1, 1) == (inner, MINUTE_MICROS // 10)
    assert found.take(inner, "acme", "c", 1, 1) == (outer, MINUTE_MICROS // 10)
    assert found.left(inner, "acme", "c", 1) == (2, 0)
    assert found.take(inner, "other", "c", 1, 1) is None
    assert (inner.allowed, inner.refused, outer.allowed, outer.refused) == (4, 1, 4, 1)


def test_checking_takes_nothing():
    found, one = _core.Buckets(max_keys=10), policy(burst=1)
    assert [found.check(one, "s", "k", 1, 1) for _ in range(3)] == [None] * 3
    assert found.take(one, "s", "k", 1, 1) is None
    assert found.check(one, "s", "k", 1, 1) is not None
    assert (one.allowed, one.refused) == (1, 1)
    one.count(allowed=True)
    one.count(allowed=False)
    assert (one.allowed, one.refused) == (2, 2)


def test_many_are_taken_one_after_the_other():
    found, two = _core.Buckets(max_keys=10), policy(burst=2)
    assert found.take_many(two, "s", ["a", "b", "a", "a"], 1, 1) == [0, 0, 0, MINUTE_MICROS // 10]
    assert (two.allowed, two.refused) == (3, 1)
    with pytest.raises(TypeError):
        found.take_many(two, "s", [b"a"], 1, 1)


def test_memory_is_bounded_by_the_number_of_keys():
    found, one = _core.Buckets(max_keys=1_000), policy(quota=1, burst=5)
    assert found.size_bytes == 48_064
    assert found.take(one, "s", "drained", 5, 1) is None
    found.take_many(one, "s", [str(number) for number in range(20_000)], 1, 1)
    assert found.evicted > 16_000
    assert found.drained(1) <= 3_000
    assert found.take(one, "s", "drained", 1, 1) is not None, "a flood of keys gave a drained bucket back"


def test_what_is_not_plausible_is_refused():
    for wrong in ({"quota": 0}, {"burst": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            policy(**wrong)
    with pytest.raises(ValueError, match="one other at most"):
        policy("c", within=policy("b", within=policy("a")))
    with pytest.raises(ValueError, match="at least 1"):
        _core.Buckets(max_keys=0)


def test_threads_take_no_more_than_there_is():
    found, shared = _core.Buckets(max_keys=10), policy(quota=1, burst=1_000)
    taken = []

    def work():
        taken.append(sum(found.take(shared, "s", "k", 1, 1) is None for _ in range(500)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1_000
