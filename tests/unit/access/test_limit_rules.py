import pytest

from fleetwire.access.limits.limit_rules import RULES, build, parse_overrides
from fleetwire.access.limits.rate_limiter import RateLimiter, rate_limited
from fleetwire.errors import ConfigError, RateLimited
from fleetwire.settings import Settings

OFFLINE_DAY_FIXES = 86_400


def numbers(policy):
    return policy.quota, policy.period_micros // 1_000_000, policy.burst


def test_the_table_is_the_policies():
    policies = build([])
    assert {name: numbers(policy) for name, policy in policies.items()} == {
        name: rule[:3] for name, rule in RULES.items()
    }
    assert {name: policy.within.name if policy.within else None for name, policy in policies.items()} == {
        name: rule.within for name, rule in RULES.items()
    }


def test_an_offline_day_can_be_replayed_at_once():
    limits = RateLimiter(Settings())
    policies = limits.policies("acme")
    for _ in range(OFFLINE_DAY_FIXES // 100):
        limits.take(policies["fixes"], "acme", "van", 100, 1.0)
    for _ in range(OFFLINE_DAY_FIXES):
        limits.take(policies["ingest"], "acme", "van", 1, 1.0)


def test_numbers_can_differ_for_all_and_for_one_tenant():
    overrides = parse_overrides("fixes_tenant=10/60, fixes@acme=5/1:50,fixes_tenant@acme=20/60 , pages=off")
    everybody, acme, other = build(overrides), build(overrides, "acme"), build(overrides, "other")
    assert numbers(everybody["fixes_tenant"]) == numbers(other["fixes_tenant"]) == (10, 60, 10)
    assert numbers(other["fixes"]) == RULES["fixes"][:3]
    assert (numbers(acme["fixes"]), numbers(acme["fixes_tenant"])) == ((5, 1, 50), (20, 60, 20))
    assert acme["fixes"].within is acme["fixes_tenant"]
    assert everybody["pages"] is None


def test_what_lies_within_a_limit_that_is_off_stays():
    policies = build(parse_overrides("login_address=off"))
    assert policies["login_address"] is None
    assert numbers(policies["login"]) == (10, 60, 10)
    assert policies["login"].within is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("anonymous", "is not name=units/seconds"),
        ("anonymous=5", "is not name=units/seconds"),
        ("anonymous=-5/60", "is not name=units/seconds"),
        ("anonymous=5/60:", "is not name=units/seconds"),
        ("nobody=5/60", "the limits are anonymous"),
        ("anonymous@acme=5/60", "by address"),
        ("api=0/60", "at least 1"),
        ("api=5/0", "at least 1"),
        ("api=5/60:0", "at least 1"),
        ("api=1/999999:999999999", "at most 2"),
    ],
)
def test_a_fault_in_the_setting_is_named(text, fault):
    with pytest.raises(ConfigError, match=fault):
        Settings.from_env({"FLEETWIRE_LIMITS": f"pages=off, {text}"})


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33"])
def test_a_fault_among_the_proxies_is_named(text):
    with pytest.raises(ConfigError, match="FLEETWIRE_TRUSTED_PROXIES"):
        Settings.from_env({"FLEETWIRE_TRUSTED_PROXIES": f"192.0.2.1, {text}"})


def test_who_is_refused_is_told_which_limit_and_when_to_come_back():
    limits = RateLimiter(Settings(limits="api@acme=1/3:2"))
    policy = limits.policies("acme")["api"]
    for _ in range(2):
        limits.take(policy, "acme", "user/dora", 1, 10.0)
    with pytest.raises(RateLimited) as refused:
        limits.take(policy, "acme", "user/dora", 1, 10.5)
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.headers() == {
        "Retry-After": "3",
        "RateLimit-Policy": '"api";q=2;w=6',
        "RateLimit": '"api";r=0;t=3',
    }
    limits.take(policy, "acme", "user/emil", 1, 10.5)
    limits.take(policy, "acme", "user/dora", 1, 13.0)


def test_a_wait_is_never_rounded_down():
    policy = build([])["anonymous"]
    assert [rate_limited(policy, micros).retry_after_secs for micros in (1, 999_999, 1_000_000, 1_000_001)] == [
        1,
        1,
        1,
        2,
    ]
