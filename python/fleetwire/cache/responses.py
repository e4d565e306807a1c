"""Kept answers of one worker: the core's bounded map first, Redis behind it if there is one, the handler last.

    look up --fresh--> HIT
       |----stale----> STALE, and a new one is made behind
       +----nothing--> one flight per key: second level --> handler --> kept --> all who waited

A write drops what rests on it, by tag: here at once, in the second level and in other workers by what `on_invalidated`
is told. An answer that was being made meanwhile is given to those who asked before the write, and not kept.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import structlog

from fleetwire._core import Lru
from fleetwire.access.identity.principal import Principal
from fleetwire.cache.entry import CacheEntry, RenderedAnswer
from fleetwire.cache.rules import ALL, CacheRule, full_tag
from fleetwire.errors import Overloaded
from fleetwire.redis.signing import RedisSigner
from fleetwire.runtime import clock
from fleetwire.runtime.single_flight import Flight, SingleFlight
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

if TYPE_CHECKING:
    from fleetwire.cache.redis_tier import RedisTier, Ticket

State: TypeAlias = Literal["HIT", "MISS", "STALE"]
Ask: TypeAlias = Callable[[], Awaitable[RenderedAnswer]]

MAX_FLIGHTS: Final = 256  # distinct answers being made; each waits for one of a few connections
WAIT_SECS: Final = 10.0
MAX_LIFE_MILLIS: Final = 3_600_000  # no rule keeps longer; the second level's tags outlive it

_log = structlog.get_logger(__name__)


class ResponseCache:
    """The cache. `on_invalidated(tenant_id, tag)` tells other workers; it must not block."""

    def __init__(self, settings: Settings, signer: RedisSigner) -> None:
        self.max_entries, self.max_bytes = settings.cache_entries, settings.cache_bytes
        self.flights: SingleFlight[CacheEntry] = SingleFlight(
            "cache-fill", most=MAX_FLIGHTS, busy=_busy, wait_secs=WAIT_SECS
        )
        self.shared = _open_shared(settings, signer)
        self.on_invalidated: Callable[[int, str], object] = lambda _tenant_id, _tag: None
        self._entries = Lru(capacity=self.max_entries, ttl_millis=MAX_LIFE_MILLIS, max_bytes=self.max_bytes)
        self._counts = {state: metrics.cache_requests(state.lower()) for state in ("HIT", "MISS", "STALE")}

    async def start(self) -> None:
        """Connects the second level, if there is one; it may be away."""
        if self.shared is not None:
            self.shared.start()

    async def stop(self) -> None:
        """Ends what runs behind."""
        await self.flights.stop()
        if self.shared is not None:
            await self.shared.stop()

    async def answer(
        self,
        rule: CacheRule,
        principal: Principal | None,
        key: bytes,
        version: str | None,
        ask: Ask,
        *,
        is_exact: bool = False,
    ) -> tuple[CacheEntry, State]:
        """The answer under a key and where it is from; `ask` has the handler make one of at least `version`.

        `is_exact`: nothing of a past state will do, however young it is.

        Raises:
            Overloaded: 503 `cache_busy`.
        """
        now_millis = _now_millis()
        entry = self._entries.get(key, now_millis=now_millis)
        kept = _state(entry, version, now_millis, is_exact=is_exact) if isinstance(entry, CacheEntry) else None
        if isinstance(entry, CacheEntry) and kept is not None:
            if kept == "STALE":
                self._renew(rule, principal, key, version, ask)
            self._counts[kept].inc()
            return entry, kept
        # Who asks for a later state must not be given one that began before it.
        name = b"%b\0%b" % (key, version.encode()) if version is not None and is_exact else key
        flight = self._fly(rule, principal, key, version, ask, name=name)
        made = await self.flights.wait(flight)
        state: State = "HIT" if flight.is_known else "MISS"
        self._counts[state].inc()
        return made, state

    def invalidate(self, tenant_id: int, tag: str) -> None:
        """Drops what rests on a tag of a tenant, on every worker. Call it after the commit of what was written."""
        self.hear(tenant_id, tag)
        self.on_invalidated(tenant_id, tag)

    def hear(self, tenant_id: int, tag: str) -> None:
        """The same on this worker alone: for what another worker tells."""
        metrics.CACHE_INVALIDATIONS.inc()
        full = full_tag(tenant_id, tag)
        self._entries.remove_tag(full)
        self.flights.outdate(full)
        if self.shared is not None:
            self.shared.outdate(full)

    def forget(self) -> None:
        """Trusts nothing kept: what other workers told may have gone unheard."""
        self._entries.clear()
        self.flights.outdate(None)
        if self.shared is not None:
            self.shared.outdate(ALL)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """What the kept answers take in memory, at most."""
        return self._entries.size_bytes

    def measure(self) -> None:
        """Sets the gauges, for whoever asks for the metrics."""
        metrics.CACHE_ENTRIES.set(len(self))
        metrics.CACHE_BYTES.set(self.size_bytes)
        metrics.CACHE_REFUSED.set(self.flights.refused)

    def stats(self) -> dict[str, Any]:
        """The figures of this worker for `GET /api/cache/stats`."""
        counts = {state.lower(): count.value for state, count in self._counts.items()}
        asked = sum(counts.values())
        served = asked - counts["miss"]
        return {
            "requests": counts,
            "hit_rate": round(served / asked, 4) if asked else None,
            "handler_calls": metrics.CACHE_FILLS.value,
            "not_modified": metrics.CACHE_NOT_MODIFIED.value,
            "invalidations": metrics.CACHE_INVALIDATIONS.value,
            "entries": len(self),
            "max_entries": self.max_entries,
            "bytes": self.size_bytes,
            "max_bytes": self.max_bytes,
            "being_made": len(self.flights),
            "refused": self.flights.refused,
            "second_level": None if self.shared is None else self.shared.stats(),
        }

    def _renew(self, rule: CacheRule, principal: Principal | None, key: bytes, version: str | None, ask: Ask) -> None:
        if key in self.flights:
            return
        try:
            self._fly(rule, principal, key, version, ask, name=key)
        except Overloaded:
            _log.debug("A stale answer is not renewed yet.")

    def _fly(
        self, rule: CacheRule, principal: Principal | None, key: bytes, version: str | None, ask: Ask, *, name: bytes
    ) -> Flight[CacheEntry]:
        return self.flights.join(
            name, lambda flight: self._make(flight, rule, key, version, ask), tags=rule.tags_of(principal)
        )

    async def _make(
        self, flight: Flight[CacheEntry], rule: CacheRule, key: bytes, version: str | None, ask: Ask
    ) -> CacheEntry:
        ticket: Ticket | None = None
        if self.shared is not None and rule.cached.is_shared and version is None:
            found, ticket = await self.shared.get(key, flight.tags)
            if found is not None and found.age_millis < rule.cached.secs * 1000:
                flight.is_known = True
                return self._keep(flight, rule, key, version, found.answer, age_millis=found.age_millis)
        metrics.CACHE_FILLS.inc()
        answer = await ask()
        entry = self._keep(flight, rule, key, version, answer, age_millis=0)
        if self.shared is not None and ticket is not None and answer.may_be_kept and not flight.is_outdated:
            await self.shared.put(ticket, answer, life_millis=_life_millis(rule))
        return entry

    def _keep(
        self,
        flight: Flight[CacheEntry],
        rule: CacheRule,
        key: bytes,
        version: str | None,
        answer: RenderedAnswer,
        *,
        age_millis: int,
    ) -> CacheEntry:
        now_millis = _now_millis()
        fresh_until_millis = now_millis + round(rule.cached.secs * 1000) - age_millis
        entry = CacheEntry(
            answer,
            cache_control=rule.cached.cache_control,
            is_public=rule.permission is None,
            version=version,
            fresh_until_millis=fresh_until_millis,
            stale_until_millis=fresh_until_millis + round(rule.cached.stale_secs * 1000),
        )
        if answer.may_be_kept and not flight.is_outdated:
            self._entries.put(
                key,
                entry,
                now_millis=now_millis,
                ttl_millis=max(1, _life_millis(rule) - age_millis),
                size_bytes=entry.size_bytes + len(key),
                tags=list(flight.tags),
            )
        return entry


def _open_shared(settings: Settings, signer: RedisSigner) -> "RedisTier | None":
    if settings.redis_url is None:
        return None
    # Only where it is needed: its client library takes a good part of a worker's start.
    from fleetwire.cache.redis_tier import RedisTier

    return RedisTier(settings.redis_url, settings.redis_prefix, signer)


def _state(entry: CacheEntry, version: str | None, now_millis: int, *, is_exact: bool) -> State | None:
    """What a kept answer is to who asks for a version; None if it may not be served."""
    if version is not None:
        if entry.version == version:
            return "HIT"
        if is_exact:
            return None
    if now_millis < entry.fresh_until_millis:
        return "HIT"
    return "STALE" if now_millis < entry.stale_until_millis else None


def _busy() -> Overloaded:
    return Overloaded("cache_busy", "Too much is being read for the first time.", retry_after_secs=1)


def _life_millis(rule: CacheRule) -> int:
    return min(MAX_LIFE_MILLIS, round(rule.kept_secs * 1000))


def _now_millis() -> int:
    # The monotonic clock: one that is set back would keep answers for as long.
    return int(clock.monotonic_secs() * 1000)
