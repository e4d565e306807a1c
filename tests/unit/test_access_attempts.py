import pytest

from fleetwire.access.attempts import LoginAttempts, network_of
from fleetwire.errors import Problem


def refused_for(attempts, address, tenant, user, now_secs):
    with pytest.raises(Problem) as refused:
        attempts.take(address, tenant, user, now_secs=now_secs)
    assert (refused.value.status, refused.value.code) == (429, "login_rate")
    return refused.value.retry_after_secs


def test_the_eleventh_login_of_a_user_in_a_minute_waits_for_the_first_to_age():
    attempts = LoginAttempts()
    for second in range(10):
        attempts.take("192.0.2.1", "acme", "dora", now_secs=float(second))
    assert refused_for(attempts, "192.0.2.1", "acme", "dora", 10.0) == 51
    assert refused_for(attempts, "192.0.2.1", "acme", "dora", 59.5) == 1
    attempts.take("192.0.2.1", "acme", "dora", now_secs=60.0)
    assert refused_for(attempts, "192.0.2.1", "acme", "dora", 60.1) == 1


def test_another_user_and_another_address_are_not_held_up():
    attempts = LoginAttempts()
    for _ in range(10):
        attempts.take("192.0.2.1", "acme", "dora", now_secs=0.0)
    attempts.take("192.0.2.1", "acme", "emil", now_secs=0.0)
    attempts.take("192.0.2.1", "other", "dora", now_secs=0.0)
    attempts.take("192.0.2.2", "acme", "dora", now_secs=0.0)


def test_an_address_that_tries_many_users_is_held_up_at_thirty():
    attempts = LoginAttempts()
    for number in range(30):
        attempts.take("192.0.2.1", "acme", f"user-{number}", now_secs=0.0)
    assert refused_for(attempts, "192.0.2.1", "acme", "user-30", 0.0) == 61


def test_what_is_refused_does_not_prolong_the_wait():
    attempts = LoginAttempts()
    for _ in range(10):
        attempts.take("192.0.2.1", "acme", "dora", now_secs=0.0)
    for second in range(1, 60):
        refused_for(attempts, "192.0.2.1", "acme", "dora", float(second))
    attempts.take("192.0.2.1", "acme", "dora", now_secs=60.0)


def test_the_tables_are_bounded():
    attempts = LoginAttempts(max_keys=100)
    for number in range(1_000):
        attempts.take(f"10.0.{number // 250}.{number % 250}", "acme", f"user-{number}", now_secs=0.0)
    assert len(attempts) == 200


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("/run/socket", "unknown"),
    ],
)
def test_an_ipv6_client_is_its_64_bit_network(address, network):
    assert network_of(address) == network
