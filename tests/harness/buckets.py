"""Token buckets in plain Python: what the core and the Lua script must answer, and the vectors that all three pass.

`python -m harness.buckets` in `tests` prints the vectors anew.
"""

import json
import random
import sys
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Bucket:
    """One bucket: the time at which it is full again."""

    quota: int
    period_micros: int
    burst: int
    full_at_micros: int = 0

    def span_micros(self, cost: int) -> int:
        """The time in which a cost flows in, rounded up."""
        return -(-cost * self.period_micros // self.quota)

    def wait_micros(self, cost: int, now_micros: int) -> int:
        """0 where the cost is there, or the bucket is full."""
        depth = self.span_micros(self.burst)
        missing = max(self.full_at_micros - now_micros, 0)
        return max(missing + min(self.span_micros(cost), depth) - depth, 0)

    def take(self, cost: int, now_micros: int) -> None:
        """Takes a cost, whether it is there or not."""
        self.full_at_micros = max(self.full_at_micros, now_micros) + self.span_micros(cost)

    def left(self, now_micros: int) -> list[int]:
        """Units that are there, and microseconds until it is full."""
        reset = max(self.full_at_micros - now_micros, 0)
        there = max(self.span_micros(self.burst) - reset, 0)
        return [min(there * self.quota // self.period_micros, self.burst), reset]


@dataclass
class Chain:
    """Buckets of which a take needs all or gets none."""

    buckets: list[Bucket] = field(default_factory=list)

    def take(self, cost: int, now_micros: int, *, force: bool = False) -> dict[str, Any]:
        """One line of a vector; `refused_by` is -1 where the take is allowed."""
        waits = [bucket.wait_micros(cost, now_micros) for bucket in self.buckets]
        allowed = force or not any(waits)
        for bucket in self.buckets if allowed else ():
            bucket.take(cost, now_micros)
        return {
            "now_micros": now_micros,
            "cost": cost,
            "force": force,
            "refused_by": -1 if allowed else waits.index(max(waits)),
            "wait_micros": 0 if allowed else max(waits),
            "left": [bucket.left(now_micros) for bucket in self.buckets],
        }


CHAINS = {
    "ten a minute": [(10, 60_000_000, 10)],
    "a third of a second": [(3, 1_000_000, 5)],
    "within an outer one": [(10, 60_000_000, 10), (30, 60_000_000, 30)],
    "within a tighter one": [(100, 1_000_000, 1_000), (7, 1_000_000, 20)],
    "fixes of an offline day": [(5_000, 1_000_000, 500_000)],
    "more than one a microsecond": [(3_000_000, 1_000_000, 10_000)],
    "slow and deep": [(1, 3_600_000_000, 200_000)],
    "one": [(1, 1, 1)],
}


def vectors() -> list[dict[str, Any]]:
    """Conversations with each chain: bursts, pauses, costs above the burst, forced takes, a clock that goes back."""
    dice = random.Random(6)
    found = []
    for name, rates in CHAINS.items():
        chain = Chain([Bucket(*rate) for rate in rates])
        burst = min(bucket.burst for bucket in chain.buckets)
        depth = max(bucket.span_micros(bucket.burst) for bucket in chain.buckets)
        now_micros, takes = 1_000_000, []
        for _ in range(60):
            pause = dice.choice([0, 0, 1, depth // (3 * burst), depth // 10, depth, -min(depth // 20, 1_000)])
            now_micros = max(now_micros + pause, 1)
            cost = dice.choice([1, 1, 1, max(1, burst // 3), burst, burst + 1, 2 * burst])
            takes.append(chain.take(cost, now_micros, force=dice.random() < 0.05))
        found.append({"name": name, "rates": rates, "takes": takes})
    return found


def as_json() -> str:
    """The file of vectors: a line for each take."""
    text = json.dumps(vectors(), separators=(",", ":"))
    return text.replace('},{"now', '},\n{"now').replace('{"name', '\n{"name') + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_json())
