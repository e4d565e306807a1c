"""Buckets that all workers share, in Redis. While Redis is away each worker counts for itself; nothing waits for it.

A call that fails, or takes longer than `FLEETWIRE_LIMIT_REPLY_SECS`, opens a pause of `AWAY_SECS` in which nobody asks.
The first call after it finds out whether Redis is back.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from fleetwire._core import Buckets, Policy
from fleetwire.redis.client import RedisClient
from fleetwire.redis.topology import FAILURES
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise
from fleetwire.telemetry import metrics

AWAY_SECS: Final = 1.0
REPORT_SECS: Final = 0.2
MAX_PENDING: Final = 100_000  # buckets with something to report; a further one is not shared until the next report
PER_PIPELINE: Final = 256
MAX_DEPTHS: Final = 64  # what is reported is let through by each worker first, and may add up to a bucket of each
MAX_CONNECTIONS: Final = 8  # further calls wait for one, as long as for an answer

TAG: Final = "limit"  # in braces in every name: one call is about two buckets, which one node has to hold

_SCRIPT = Path(__file__).with_name("lua").joinpath("bucket.lua").read_text(encoding="utf-8")
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # how Redis names it
_log = structlog.get_logger(__name__)

Bucket = tuple[Policy, str, str]


class Verdict(NamedTuple):
    """What Redis said: nothing, yes, or which policy refuses and for how many microseconds."""

    is_away: bool = False
    refused: tuple[Policy, int] | None = None


class RedisLimits:
    """One worker's way to the shared buckets."""

    def __init__(self, url: str, prefix: str, buckets: Buckets, *, reply_secs: float) -> None:
        self._server = RedisClient(url, TAG, connections=MAX_CONNECTIONS, answer_secs=reply_secs)
        self._prefix = f"{prefix}:{{{TAG}}}"
        self._buckets = buckets
        self._pending: dict[Bucket, int] = {}
        self._away_until_secs = 0.0
        self._is_away = False
        self._reporting: SupervisedTask | None = None

    def start(self) -> None:
        """Begins to report."""
        metrics.LIMITS_SHARED_UP.set(1)
        self._reporting = supervise(self._report_next, name="limits-report", unready_after_secs=NEVER_UNREADY)

    async def stop(self) -> None:
        """Reports once more and closes the connections."""
        await supervisor.stop(self._reporting)
        await self._report_all()
        await self._server.close()

    async def ask(self, policy: Policy, scope: str, key: str) -> Verdict:
        """Takes one from a shared bucket, and from the one it lies within. One call."""
        if clock.monotonic_secs() < self._away_until_secs:
            return Verdict(is_away=True)
        buckets = list(_chain(policy, scope, key))
        asked_micros, client = _now_micros(), None
        try:
            client = await self._server.client()
            reply = await self._take(client, buckets)
        except FAILURES as error:
            await self._failed(client, error)
            return Verdict(is_away=True)
        self._answered()
        refused_by, wait_micros = reply[:2]
        if refused_by < 0:
            # Here as well, and counted so: whoever empties Redis gets no more from this worker than from one alone.
            self._buckets.take(policy, scope, key, 1, asked_micros)
            self._settle(buckets, reply, asked_micros)
            return Verdict()
        self._settle(buckets, reply, asked_micros)
        refusing = buckets[refused_by][0]
        refusing.count(allowed=False)
        return Verdict(refused=(refusing, min(wait_micros, _depth_micros(refusing))))

    async def _take(self, client: Any, buckets: list[Bucket]) -> list[int]:  # noqa: ANN401 - see `_report_part`
        names, arguments = [self._name(each) for each in buckets], _arguments(buckets, 1, force=False)
        try:
            reply: list[int] = await client.evalsha(_SHA, len(names), *names, *arguments)
        except NoScriptError:
            reply = await client.eval(_SCRIPT, len(names), *names, *arguments)
        return reply

    def report(self, policy: Policy, scope: str, key: str, cost: int) -> None:
        """Notes what this worker let through by itself."""
        bucket = (policy, scope, key)
        before = self._pending.get(bucket)
        if before is None and len(self._pending) >= MAX_PENDING:
            metrics.LIMITS_UNSHARED.inc(cost)
            return
        self._pending[bucket] = cost if before is None else before + cost

    async def _report_next(self) -> None:
        await asyncio.sleep(REPORT_SECS)
        await self._report_all()

    async def _report_all(self) -> None:
        """Tells Redis what was let through, and drains our buckets as far as everybody together drained theirs."""
        pending, self._pending = self._pending, {}
        costs: dict[Bucket, int] = {}
        for (policy, scope, key), cost in pending.items():
            for bucket in _chain(policy, scope, key):
                costs[bucket] = costs.get(bucket, 0) + cost
        charges = iter(costs.items())
        while part := list(islice(charges, PER_PIPELINE)):
            if clock.monotonic_secs() < self._away_until_secs or not await self._report_part(part):
                metrics.LIMITS_UNSHARED.inc(sum(cost for _, cost in part))

    async def _report_part(self, part: list[tuple[Bucket, int]]) -> bool:
        asked_micros = _now_micros()
        client: Any = None  # Its types say of every command that it may not have to be awaited.
        try:
            client = await self._server.client()
            pipeline = client.pipeline(transaction=False)
            pipeline.script_load(_SCRIPT)  # Redis may have been restarted: it is cheaper to say it than to ask.
            for bucket, cost in part:
                pipeline.evalsha(_SHA, 1, self._name(bucket), *_arguments([bucket], cost, force=True))
            _, *replies = await pipeline.execute()
        except FAILURES as error:
            await self._failed(client, error)
            return False
        self._answered()
        for (bucket, _), reply in zip(part, replies, strict=True):
            self._settle([bucket], reply, asked_micros)
        return True

    def _settle(self, buckets: Iterable[Bucket], reply: list[int], asked_micros: int) -> None:
        """From the time of the question, not of the answer: our bucket is never stricter than the shared one."""
        for bucket, reset_micros in zip(buckets, reply[3::2], strict=True):
            # A larger number is none that workers made together: somebody else wrote it.
            self._buckets.settle(*bucket, min(reset_micros, MAX_DEPTHS * _depth_micros(bucket[0])), asked_micros)

    async def _failed(self, client: Redis | None, error: BaseException) -> None:
        metrics.LIMITS_SHARED_FAILURES.inc()
        self._away_until_secs = clock.monotonic_secs() + AWAY_SECS
        if not self._is_away:
            self._is_away = True
            metrics.LIMITS_SHARED_UP.set(0)
            _log.warning("Redis is away: limits are counted by each worker.", error=str(error))
        await self._server.failed(client)

    def _answered(self) -> None:
        self._away_until_secs = 0.0
        if self._is_away:
            self._is_away = False
            metrics.LIMITS_SHARED_UP.set(1)
            _log.info("Redis is back: limits are shared again.")

    def _name(self, bucket: Bucket) -> str:
        policy, scope, key = bucket
        return f"{self._prefix}:{scope}:{policy.name}:{key}"


def _depth_micros(policy: Policy) -> int:
    """The time in which an empty bucket fills."""
    return policy.burst * policy.period_micros // policy.quota + 1


def _now_micros() -> int:
    return int(clock.monotonic_secs() * 1e6)


def _chain(policy: Policy, scope: str, key: str) -> Iterator[Bucket]:
    yield policy, scope, key
    if policy.within is not None:
        yield policy.within, scope, ""


def _arguments(buckets: list[Bucket], cost: int, *, force: bool) -> list[int]:
    rates = [number for policy, _, _ in buckets for number in (policy.quota, policy.period_micros, policy.burst)]
    return [int(force), cost, *rates]
