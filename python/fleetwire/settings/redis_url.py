"""Addresses of Redis or Valkey.

redis://[user:password@]host[:6379][/db]                       rediss://...           with TLS
unix://[user:password@]/run/valkey.sock[?db=0]
redis+sentinel://[user:password@]host[:26379],host/master[/db] rediss+sentinel://...  the Sentinels without either
redis+cluster://[user:password@]host[:6379],host               rediss+cluster://...

`username`, `password` and `db` may also be given as parameters behind a question mark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from fleetwire.errors import ConfigError

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_SCHEMES = ("redis", "redis+sentinel", "redis+cluster")
_FORMS = "redis://host:port/db, rediss://, unix:///path, redis+sentinel://host,host/master or redis+cluster://host,host"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """A parsed address."""

    form: Literal["single", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    master: str | None = None
    options: dict[str, Any]
    """What every connection to a data server needs: credentials, database, TLS."""


def parse(url: str) -> RedisAddress:
    """Reads an address.

    Raises:
        ConfigError: it is none of the forms above.
    """
    try:
        return _parse(url)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"the address is not one of {_FORMS}") from error


def _parse(url: str) -> RedisAddress:
    parts = urlsplit(url)
    user, _, netloc = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    if not query.keys() <= {"db", "username", "password"}:
        raise ValueError("there is no such parameter")
    options: dict[str, Any] = {
        "username": query.get("username") or unquote(name) or None,
        "password": query.get("password") or unquote(password) or None,
    }
    path = unquote(parts.path)
    if parts.scheme == "unix":
        options["db"] = int(query.get("db", "0"))
        return RedisAddress(form="single", path=_present(path), options=options)
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    scheme = parts.scheme.replace("rediss", "redis", 1)
    _, _, form = _SCHEMES[_SCHEMES.index(scheme)].partition("+")
    hosts = tuple(_host(host, SENTINEL_PORT if form == "sentinel" else REDIS_PORT) for host in netloc.split(","))
    steps = path.strip("/").split("/") if path.strip("/") else []
    if form == "cluster":
        _none_left(steps)
        return RedisAddress(form="cluster", hosts=hosts, options=options)
    master = _present(steps.pop(0) if steps else "") if form == "sentinel" else None
    options["db"] = int(steps.pop(0) if steps else query.get("db", "0"))
    _none_left(steps)
    if form == "sentinel":
        return RedisAddress(form="sentinel", hosts=hosts, master=master, options=options)
    _none_left(hosts[1:])
    return RedisAddress(form="single", hosts=hosts, options=options)


def _host(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return _present(parts.hostname), parts.port or default_port


def _present(text: str | None) -> str:
    if not text:
        raise ValueError("a part is missing")
    return text


def _none_left(parts: Sequence[object]) -> None:
    if parts:
        raise ValueError("there are parts too many")
