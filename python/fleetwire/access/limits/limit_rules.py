"""How much of what, for whom: the table of limits, and how an operator changes it.

`FLEETWIRE_LIMITS` names what shall differ: `anonymous=300/60`, `fixes_tenant@acme=10000/1:50000`, `pages=off`. That is
units in a period of seconds and, behind a colon, how many may come at once; without one, a whole period's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from fleetwire._core import Policy

_OVERRIDE = re.compile(r"([a-z_]+)(?:@([^=,]+))?=(?:(\d{1,9})/(\d{1,6})(?::(\d{1,9}))?|(off))")


class LimitRule(NamedTuple):
    """Units in a period, units at once, the rule it lies within, and what is counted by what."""

    quota: int
    period_secs: int
    burst: int
    within: str | None
    meaning: str


class LimitOverride(NamedTuple):
    """A line of the setting: no numbers where the rule is switched off, no tenant where it holds for all."""

    name: str
    tenant: str | None
    numbers: tuple[int, int, int] | None


RULES: Final[Mapping[str, LimitRule]] = {
    # By address.
    "anonymous": LimitRule(100, 60, 100, None, "requests without a good credential, by address"),
    "pages": LimitRule(600, 60, 600, None, "documents and the console's files, by address"),
    "health": LimitRule(3_000, 60, 1_000, None, "`/readyz` and `/health`, by address"),
    "login_address": LimitRule(30, 60, 30, None, "logins, by address"),
    "login": LimitRule(10, 60, 10, "login_address", "logins, by address, tenant and user"),
    "login_site": LimitRule(60, 60, 60, None, "logins, by the /56 of an IPv6 address"),
    "login_region": LimitRule(240, 60, 240, None, "logins, by the /48 of an IPv6 address"),
    "login_account": LimitRule(100, 900, 100, None, "logins from browsers that are not known, by tenant and user"),
    "login_known": LimitRule(10, 900, 10, None, "logins from a browser in which the user has logged in, by browser"),
    "credential_address": LimitRule(1_000, 900, 1_000, None, "renewals and logouts, by address"),
    "credential": LimitRule(100, 900, 100, "credential_address", "renewals and logouts, by address and credential"),
    # By tenant, and within it by whoever asks.
    "api_tenant": LimitRule(2_000, 1, 60_000, None, "requests of users, by tenant"),
    "api": LimitRule(50, 1, 1_500, "api_tenant", "requests of a user, by user"),
    "api_customer": LimitRule(10, 1, 300, "api_tenant", "requests of a user with the role customer, by user"),
    "metrics": LimitRule(10, 1, 100, None, "`/metrics`, by user"),
    "feed": LimitRule(100, 1, 5_000, None, "`watch` and `events` on sockets, by user or device"),
    # A gateway speaks for thousands of devices, and a phone that was away sends a day's fixes one by one.
    "ingest_tenant": LimitRule(50_000, 1, 500_000, None, "batches, by tenant"),
    "ingest": LimitRule(100, 1, 100_000, "ingest_tenant", "batches and requests of a device token, by device"),
    "fixes_tenant": LimitRule(2_000_000, 1, 20_000_000, None, "fixes, by tenant"),
    "fixes": LimitRule(5_000, 1, 500_000, "fixes_tenant", "fixes, by device; an offline day has 86,400"),
}
BY_ADDRESS: Final = frozenset(
    {
        "anonymous",
        "pages",
        "health",
        "login_address",
        "login",
        "login_site",
        "login_region",
        "login_account",
        "login_known",
        "credential_address",
        "credential",
    }
)

Policies = dict[str, Policy | None]
"""Policies by name; None where the limit is off."""


def parse_overrides(text: str) -> list[LimitOverride]:
    """Reads the setting.

    Raises:
        ValueError: a part is not understood; the message says which and why.
    """
    return [_override(part.strip()) for part in text.split(",") if part.strip()]


def _override(part: str) -> LimitOverride:
    found = _OVERRIDE.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} is not name=units/seconds, name=units/seconds:burst or name=off")
    name, tenant, units, seconds, burst, off = found.groups()
    if name not in RULES:
        raise ValueError(f"{part!r}: the limits are {', '.join(RULES)}")
    if tenant is not None and name in BY_ADDRESS:
        raise ValueError(f"{part!r}: {name} is by address, no tenant is known")
    if off is not None:
        return LimitOverride(name, tenant, None)
    numbers = (int(units), int(seconds), int(burst or units))
    try:
        _policy(name, numbers, None)
    except ValueError as error:
        raise ValueError(f"{part!r}: {error}") from error
    return LimitOverride(name, tenant, numbers)


def build(overrides: list[LimitOverride], tenant: str | None = None) -> Policies:
    """The policies of one tenant; without one, of everybody else."""
    numbers: dict[str, tuple[int, int, int] | None] = {name: rule[:3] for name, rule in RULES.items()}
    for override in sorted(overrides, key=lambda each: each.tenant is not None):  # the tenant's own come last
        if override.tenant in {None, tenant}:
            numbers[override.name] = override.numbers
    policies: Policies = {}
    for name, rule in RULES.items():  # a rule stands behind the one it lies within
        own = numbers[name]
        policies[name] = None if own is None else _policy(name, own, policies.get(rule.within or ""))
    return policies


def tenants_of(overrides: list[LimitOverride]) -> Iterator[str]:
    """The tenants that have policies of their own."""
    yield from dict.fromkeys(override.tenant for override in overrides if override.tenant is not None)


def _policy(name: str, numbers: tuple[int, int, int], within: Policy | None) -> Policy:
    quota, period_secs, burst = numbers
    return Policy(name, quota=quota, period_micros=period_secs * 1_000_000, burst=burst, within=within)
