"""Compares the core's LRU map with `cachetools.TTLCache`, both with 10,000 entries."""

from bench.micro.stopwatch import Stopwatch
from fleetwire._core import Lru

ENTRIES = 10_000
TTL_SECS = 600


def run(stopwatch: Stopwatch) -> dict[str, float]:  # noqa: C901 - four calls, two of each kind
    """Returns times and ratios of a get that hits and of a put that evicts."""
    from cachetools import TTLCache

    keys = [b"tenant-%d\0/api/devices\0after=%d" % (number % 50, number) for number in range(2 * ENTRIES)]
    value = object()
    ours = Lru(capacity=ENTRIES, ttl_millis=TTL_SECS * 1000)
    theirs: TTLCache[bytes, object] = TTLCache(ENTRIES, TTL_SECS)
    for key in keys[:ENTRIES]:
        ours.put(key, value, now_millis=0)
        theirs[key] = value
    known, turning = keys[:1_000], keys

    def get_ours() -> None:
        for key in known:
            ours.get(key, now_millis=1)

    def get_theirs() -> None:
        for key in known:
            theirs.get(key)

    def put_ours() -> None:
        for key in turning:
            ours.put(key, value, now_millis=1)

    def put_theirs() -> None:
        for key in turning:
            theirs[key] = value

    if ours.get(keys[0], now_millis=1) is not theirs.get(keys[0]):
        raise RuntimeError("The maps hold different values.")
    times = stopwatch.interleaved(get_ours, get_theirs)
    puts = stopwatch.interleaved(put_ours, put_theirs)
    return {
        "lru_get_nanos": times[0] / len(known) * 1000,
        "cachetools_get_nanos": times[1] / len(known) * 1000,
        "lru_get_ratio": times[1] / times[0],
        "lru_put_nanos": puts[0] / len(turning) * 1000,
        "cachetools_put_nanos": puts[1] / len(turning) * 1000,
        "lru_put_ratio": puts[1] / puts[0],
    }
