"""Times decisions of the token buckets from Python, single and in batches, on a table of a million keys."""

import resource
from itertools import islice

from bench.micro.stopwatch import Stopwatch
from fleetwire._core import Buckets, Policy

KEYS = 1_000_000
MAX_BYTES = 150_000_000
SERIES = 10_000
STEP = 7_919  # visits every key, each far from the previous one
LATER_MICROS = 1_000


def run(stopwatch: Stopwatch) -> dict[str, float]:
    """Returns decisions per second, and the memory of a million keys by the table's count and by the process's."""
    # Slow enough that no bucket refills before the end.
    policy = Policy("bench", quota=100, period_micros=3_600_000_000, burst=500_000)
    names = [f"device-{number:07}" for number in range(KEYS)]
    before_bytes = _resident_bytes()
    buckets = Buckets(max_keys=KEYS)
    if any(buckets.take_many(policy, "acme", names, 1, 1)):
        raise AssertionError("A new bucket is full.")
    grown_bytes = _resident_bytes() - before_bytes
    if (buckets.drained(1), buckets.evicted) != (KEYS, 0):
        raise AssertionError("A key is missing from the table.")
    if max(buckets.size_bytes, grown_bytes) > MAX_BYTES:
        raise AssertionError(f"A million keys take {buckets.size_bytes} bytes, the process {grown_bytes}.")
    scattered = [names[number * STEP % KEYS] for number in islice(range(KEYS), SERIES)]
    take = buckets.take

    def one_by_one() -> None:
        for name in scattered:
            take(policy, "acme", name, 1, LATER_MICROS)

    one_micros, many_micros = stopwatch.interleaved(
        one_by_one, lambda: buckets.take_many(policy, "acme", scattered, 1, LATER_MICROS)
    )
    return {
        "bucket_decisions_per_sec": SERIES / one_micros * 1e6,
        "bucket_batch_decisions_per_sec": SERIES / many_micros * 1e6,
        "bucket_million_keys_mb": buckets.size_bytes / 1e6,
        "bucket_million_keys_rss_mb": grown_bytes / 1e6,
    }


def _resident_bytes() -> int:
    """Returns the peak memory of the process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
