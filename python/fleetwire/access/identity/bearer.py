"""Where a credential may stand in a request: the Authorization header, or the session cookie. Never the address."""

from typing import Any, Final

from fleetwire.access.identity.origin import SAFE_METHODS, check_origin
from fleetwire.errors import Problem

SESSION_COOKIE: Final = "fleetwire_session"
REFRESH_COOKIE: Final = "fleetwire_refresh"
# Browsers take a cookie with this prefix only over TLS, for the whole host and from no other host of the domain. Plain
# HTTP, as on the machine itself, has to do without.
HOST_PREFIX: Final = "__Host-"

# A login's token is about 400 characters; what is longer was not made here.
MAX_TOKEN_CHARS: Final = 2_048


def presented_token(scope: Any, allowed_origins: frozenset[str]) -> str:  # noqa: ANN401 - the raw ASGI dictionary
    """The token of an HTTP request or a WebSocket handshake, not verified yet.

    `Authorization: Bearer` wins over the cookie. Another scheme is left to whoever put it there, such as a proxy that
    asks for a password of its own.

    Raises:
        Problem: 401 `token_missing`, 401 `token_invalid` (two Authorization headers, or one that is too long),
            403 `origin_forbidden`.
    """
    authorization: bytes | None = None
    cookies: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            if authorization is not None:
                raise Problem("token_invalid", "The request has two Authorization headers.", status=401)
            authorization = value
        elif name == b"cookie":
            cookies.append(value)
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return _bounded(authorization[7:].strip().decode("latin-1"))
    token = _cookie(cookies, cookie_name(SESSION_COOKIE, scope))
    if token is None:
        raise Problem("token_missing", "Send `Authorization: Bearer ...`, or log in first.", status=401)
    if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
        check_own_page(scope, allowed_origins)
    return _bounded(token)


def refresh_cookie(scope: Any, allowed_origins: frozenset[str]) -> str:  # noqa: ANN401
    """The refresh token of a page, which keeps it in a cookie that only the renewal is sent.

    Raises:
        Problem: 401 `token_missing`, 403 `origin_forbidden`.
    """
    token = cookie_of(scope, REFRESH_COOKIE)
    if token is None:
        raise Problem("token_missing", "Send `refresh_token`, or log in first.", status=401)
    check_own_page(scope, allowed_origins)
    return _bounded(token)


def cookie_name(name: str, scope: Any) -> str:  # noqa: ANN401
    """A cookie's name: with the prefix where the client's connection is TLS, and then with no other."""
    return HOST_PREFIX + name if is_secure(scope) else name


def cookie_of(scope: Any, name: str) -> str | None:  # noqa: ANN401
    """The value of one of our cookies."""
    return _cookie([value for header, value in scope["headers"] if header == b"cookie"], cookie_name(name, scope))


def check_own_page(scope: Any, allowed_origins: frozenset[str], *, absent_is_fine: bool = False) -> None:  # noqa: ANN401
    """Applies `check_origin` to a raw ASGI scope; with `absent_is_fine` only an Origin that is there and foreign fails.

    Raises:
        Problem: 403 `origin_forbidden`.
    """
    found = {name: value.decode("latin-1") for name, value in scope["headers"] if name in {b"origin", b"host"}}
    if absent_is_fine and b"origin" not in found:
        return
    check_origin(found.get(b"origin"), found.get(b"host"), secure=is_secure(scope), allowed=allowed_origins)


def is_secure(scope: Any) -> bool:  # noqa: ANN401
    """Whether the client's own connection is TLS, as far as the server in front says so."""
    return scope.get("scheme") in {"https", "wss"}


def _bounded(token: str) -> str:
    if not token:
        raise Problem("token_missing", "The credential is empty.", status=401)
    if len(token) > MAX_TOKEN_CHARS:
        raise Problem("token_invalid", "The token is longer than any made here.", status=401)
    return token


def _cookie(cookies: list[bytes], wanted_name: str) -> str | None:
    wanted = wanted_name.encode("ascii")
    for header in cookies:  # HTTP/2 may split the cookies over several headers.
        for pair in header.split(b";"):
            name, _, value = pair.strip().partition(b"=")
            if name == wanted and value:
                return value.decode("latin-1")
    return None
