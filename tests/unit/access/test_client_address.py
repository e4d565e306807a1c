import pytest

from fleetwire.access.client_address import Addresses, parse_networks

PROXIES = parse_networks("10.0.0.0/8, 2001:db8:ffff::/48, 192.0.2.250")


def scope(peer, *headers):
    return {
        "client": (peer, 4711) if peer is not None else None,
        "headers": [(n.encode(), v.encode()) for n, v in headers],
    }


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
    assert Addresses().network(scope(address)) == network


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_who_is_no_proxy_is_not_believed(header):
    claim = (header, "203.0.113.9" if header == "x-forwarded-for" else "for=203.0.113.9")
    assert Addresses().network(scope("198.51.100.7", claim)) == "198.51.100.7"
    assert Addresses(PROXIES, header).network(scope("198.51.100.7", claim)) == "198.51.100.7"


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("203.0.113.9:50123", "203.0.113.9"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::3, 2001:db8:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, unknown", "10.0.0.1"),
        ("203.0.113.9, unknown, 10.1.1.1", "10.1.1.1"),
        ("203.0.113.9,", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_behind_proxies_it_is_the_rightmost_that_is_none(value, network):
    assert Addresses(PROXIES).network(scope("10.0.0.1", ("x-forwarded-for", value))) == network


def test_a_header_sent_twice_is_read_in_order():
    twice = scope("10.0.0.1", ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7, 192.0.2.250"))
    assert Addresses(PROXIES).network(twice) == "198.51.100.7"


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("for=203.0.113.9;proto=https", "203.0.113.9"),
        ('for=198.51.100.1, For="[2001:db8:1:2::3]:4711";by=10.0.0.1', "2001:db8:1:2::/64"),
        ("for=203.0.113.9, for=_hidden", "10.0.0.1"),
        ("for=203.0.113.9, proto=https", "10.0.0.1"),
        ("for=203.0.113.9, for=10.2.2.2", "203.0.113.9"),
    ],
)
def test_the_standard_header_is_read_where_it_is_chosen(value, network):
    asked = scope("10.0.0.1", ("forwarded", value), ("x-forwarded-for", "192.0.2.77"))
    assert Addresses(PROXIES, "forwarded").network(asked) == network
    assert Addresses(PROXIES).network(asked) == "192.0.2.77"
