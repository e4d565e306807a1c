"""Takes from token buckets, here or in Redis, and says what a client must know of them.

Without Redis each worker counts for itself. With it, two ways, both in shared_limits.py:
- *asked*: logins, other credential routes and anonymous requests, which are few and small numbers. One call to Redis
  decides each, after the worker's own bucket did not refuse; that bucket follows what Redis says, and takes over while
  Redis is away.
- *reported*: everything of a credential. The worker's own bucket decides at once; what it let through is told to Redis
  five times a second, and what other workers let through comes back. A burst may so be had once per worker, and is paid
  back by waiting: over time, all workers together never give more than one would.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from fleetwire._core import Buckets, Policy
from fleetwire.access.client_address import Addresses, wider_network
from fleetwire.access.identity.principal import Principal
from fleetwire.access.limits import limit_rules
from fleetwire.errors import RateLimited
from fleetwire.runtime import clock
from fleetwire.settings import Settings

if TYPE_CHECKING:
    from fleetwire.access.limits.redis_limits import RedisLimits

_API_OF_ROLE: Final = {"customer": "api_customer"}
_LOGINS: Final = frozenset({"login", "login_address", "login_site", "login_region", "login_account", "login_known"})
_WIDER: Final = (("login_site", 56), ("login_region", 48))


class LimitHit(NamedTuple):
    """The bucket that a request was counted by."""

    policy: Policy
    scope: str
    key: str


class RateLimiter:
    """The limits of one worker."""

    def __init__(self, settings: Settings) -> None:
        overrides = settings.limit_overrides
        self.addresses = Addresses(settings.proxies, settings.proxy_header)
        self.buckets = Buckets(max_keys=settings.limit_keys)
        self.shared = _open_shared(settings, self.buckets)
        self._of_all = limit_rules.build(overrides)
        self._of_tenant = {tenant: limit_rules.build(overrides, tenant) for tenant in limit_rules.tenants_of(overrides)}

    def start(self) -> None:
        """Begins to report to Redis, where there is one."""
        if self.shared is not None:
            self.shared.start()

    async def stop(self) -> None:
        """Reports what is left, as far as Redis answers."""
        if self.shared is not None:
            await self.shared.stop()

    def policies(self, tenant: str = "") -> limit_rules.Policies:
        """The policies of a tenant, or of those who have none."""
        return self._of_tenant.get(tenant, self._of_all)

    def take(self, policy: Policy | None, scope: str, key: str, cost: int, now_secs: float) -> None:
        """Takes from this worker's bucket; reported to Redis later. Without a policy there is no limit.

        Raises:
            RateLimited: nothing was taken.
        """
        if policy is None:
            return
        refused = self.buckets.take(policy, scope, key, cost, int(now_secs * 1e6))
        if refused is not None:
            raise rate_limited(*refused)
        if self.shared is not None:
            self.shared.report(policy, scope, key, cost)

    async def ask(self, policy: Policy | None, scope: str, key: str) -> None:
        """Takes one from the bucket that all workers share; from this worker's while Redis is away, or where none is.

        Raises:
            RateLimited: nothing was taken.
        """
        now_secs = clock.monotonic_secs()
        if policy is None:
            return
        if self.shared is None:
            self.take(policy, scope, key, 1, now_secs)
            return
        refused = self.buckets.check(policy, scope, key, 1, int(now_secs * 1e6))
        if refused is None:
            verdict = await self.shared.ask(policy, scope, key)
            if verdict.is_away:
                self.take(policy, scope, key, 1, now_secs)
                return
            refused = verdict.refused
        if refused is not None:
            raise rate_limited(*refused)

    async def login(self, network: str, tenant: str, user: str, *, browser_id: str | None = None) -> None:
        """Counts a login, right and wrong ones alike.

        Guessing one password is slowed by address and user, trying one password on many users by the address, and by
        the networks that an IPv6 address lies in; guessing from many networks by the user. A browser in which the user
        has logged in before is counted by itself: no guesses from elsewhere use up its limit.

        Raises:
            RateLimited: `login_rate`.
        """
        if browser_id is not None:
            await self.ask(self._of_all["login_known"], browser_id, "")
            return
        # The narrowest first: what it refuses uses up nothing of the wider ones.
        await self.ask(self._of_all["login"], network, f"{tenant}/{user}")
        for name, prefix in _WIDER:
            if (wider := wider_network(network, prefix)) is not None:
                await self.ask(self._of_all[name], wider, "")
        await self.ask(self._of_all["login_account"], f"{tenant}/{user}", "")

    def message(self, principal: Principal) -> None:
        """Counts one message of a socket that is neither a batch nor an event: a choice of what is watched or heard.

        Raises:
            RateLimited: the message shall not be looked at.
        """
        policy = self.policies(principal.tenant)["feed"]
        self.take(policy, principal.tenant, limit_key(principal), 1, clock.monotonic_secs())

    def request(self, principal: Principal, *, is_metrics: bool = False) -> LimitHit | None:
        """Counts a request of a credential, or a message that does what a request does; None where it has no limit.

        Raises:
            RateLimited: nothing shall be done.
        """
        policies, tenant = self.policies(principal.tenant), principal.tenant
        if principal.kind == "ingest":  # A gateway: what its devices may do together.
            taken = policies["ingest_tenant"], tenant, ""
        elif principal.kind == "device":
            taken = policies["ingest"], tenant, principal.device or ""
        else:
            name = "metrics" if is_metrics else _API_OF_ROLE.get(principal.role, "api")
            taken = policies[name], tenant, limit_key(principal)
        self.take(*taken, 1, clock.monotonic_secs())
        policy, scope, key = taken
        return None if policy is None else LimitHit(policy, scope, key)

    def fields(self, taken: LimitHit) -> dict[str, str]:
        """The IETF headers of an answer that was let through."""
        now_micros = int(clock.monotonic_secs() * 1e6)
        remaining, reset_micros = self.buckets.left(*taken, now_micros)
        return _fields(taken.policy, remaining, math.ceil(reset_micros / 1e6))

    def decisions(self) -> Iterator[tuple[str, int, int]]:
        """Of each limit how often it allowed and refused, its tenants' own included."""
        for name in limit_rules.RULES:
            sets = (self._of_all, *self._of_tenant.values())
            found = [policy for each in sets if (policy := each[name]) is not None]
            yield name, sum(each.allowed for each in found), sum(each.refused for each in found)

    def keys(self) -> int:
        """Clients whose buckets are not full."""
        return self.buckets.drained(int(clock.monotonic_secs() * 1e6))


def limit_key(principal: Principal) -> str:
    """One key for all credentials of a user or a device."""
    return f"{principal.kind}/{principal.user or principal.device or ''}"


def rate_limited(policy: Policy, wait_micros: int) -> RateLimited:
    """The answer to a client that a policy refused."""
    wait_secs = math.ceil(wait_micros / 1e6)
    fields = _fields(policy, 0, wait_secs)
    if policy.name in _LOGINS:
        detail = "Too many logins were tried; wait before the next."
        return RateLimited("login_rate", detail, retry_after_secs=wait_secs, fields=fields)
    detail = f"Over the limit {policy.name}: come back in {wait_secs} seconds, nothing was done."
    return RateLimited("rate_limited", detail, retry_after_secs=wait_secs, fields=fields)


def _fields(policy: Policy, remaining: int, secs: int) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-11 has them: what a bucket holds, and the time in which it fills."""
    return {"RateLimit-Policy": _policy_field(policy), "RateLimit": f'"{policy.name}";r={remaining};t={secs}'}


@lru_cache(maxsize=256)
def _policy_field(policy: Policy) -> str:
    window_secs = max(1, math.ceil(policy.burst * policy.period_micros / policy.quota / 1e6))
    return f'"{policy.name}";q={policy.burst};w={window_secs}'


def _open_shared(settings: Settings, buckets: Buckets) -> "RedisLimits | None":
    if settings.redis_url is None:
        return None
    # Only where it is needed: its client library takes a good part of a worker's start.
    from fleetwire.access.limits.redis_limits import RedisLimits

    return RedisLimits(settings.redis_url, settings.redis_prefix, buckets, reply_secs=settings.limit_reply_secs)
