import pytest

from fleetwire.access.identity.origin import check_origin
from fleetwire.errors import Problem

ALLOWED = frozenset({"https://console.example.com"})


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", False),
        ("https://fleet.example", "fleet.example", True),
        ("https://fleet.example", "fleet.example:443", True),
        ("https://fleet.example:443", "fleet.example", True),
        ("https://FLEET.example", "fleet.EXAMPLE", True),
        ("https://fleet.example", "fleet.example", False),  # TLS ends at a proxy that does not say so.
        ("http://[::1]:8000", "[::1]:8000", False),
        ("https://Console.example.com", "fleet.example", True),
    ],
)
def test_the_servers_own_pages_and_listed_ones_pass(origin, host, secure):
    check_origin(origin, host, secure=secure, allowed=ALLOWED)


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        (None, "fleet.example", True),
        ("https://fleet.example", None, True),
        ("null", "fleet.example", True),
        ("", "fleet.example", True),
        ("https://evil.example", "fleet.example", True),
        ("https://fleet.example.evil.example", "fleet.example", True),
        ("https://fleet.example@evil.example", "fleet.example", True),
        ("https://fleet.example:8443", "fleet.example", True),
        ("http://fleet.example", "fleet.example", True),
        ("https://fleet.example/", "fleet.example", True),
        ("https://fleet.example:port", "fleet.example", True),
        ("https://[fleet.example", "fleet.example", True),
        ("file://fleet.example", "fleet.example", False),
        ("http://console.example.com", "fleet.example", False),
        ("https://", "", True),
    ],
)
def test_any_other_page_is_refused(origin, host, secure):
    with pytest.raises(Problem) as refused:
        check_origin(origin, host, secure=secure, allowed=ALLOWED)
    assert (refused.value.status, refused.value.code) == (403, "origin_forbidden")
