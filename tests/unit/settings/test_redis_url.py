"""Addresses of Redis or Valkey are understood, or refused with the forms there are."""

import pytest

from fleetwire.errors import ConfigError
from fleetwire.settings.redis_url import parse


@pytest.mark.parametrize(
    ("url", "form", "hosts", "options"),
    [
        ("redis://127.0.0.1", "single", [("127.0.0.1", 6379)], {"db": 0}),
        ("redis://me:p%40ss@host:7000/3", "single", [("host", 7000)], {"username": "me", "password": "p@ss", "db": 3}),
        ("rediss://[::1]:7000", "single", [("::1", 7000)], {"ssl": True, "db": 0}),
        ("redis+sentinel://:x@a,b:7/fleet/2", "sentinel", [("a", 26379), ("b", 7)], {"password": "x", "db": 2}),
        ("redis+cluster://a,b:7", "cluster", [("a", 6379), ("b", 7)], {}),
        ("rediss+cluster://a", "cluster", [("a", 6379)], {"ssl": True}),
        ("redis://a?password=x&db=4", "single", [("a", 6379)], {"password": "x", "db": 4}),
        ("unix:///run/valkey.sock?db=2", "single", [], {"db": 2}),
    ],
)
def test_every_form(url, form, hosts, options):
    address = parse(url)
    assert (address.form, list(address.hosts)) == (form, hosts)
    assert {name: value for name, value in address.options.items() if value is not None} == options
    assert address.master == ("fleet" if form == "sentinel" else None)
    assert address.path == ("/run/valkey.sock" if url.startswith("unix") else None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "redis:",
        "redis://",
        "redis://a,b",
        "redis://a:port",
        "redis://a/b",
        "redis://a/1/2",
        "redis+sentinel://a",
        "redis://a?ssl=1",
        "redis+cluster://a/1",
        "redis+cluster://a,,b",
        "unix://",
        "http://a",
    ],
)
def test_what_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="redis://host:port/db"):
        parse(url)
