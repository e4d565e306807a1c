"""The origin a browser's request must have.

A browser sends its cookie along with requests that other sites make it send, and a WebSocket handshake is not stopped
by CORS. So whoever is known by a cookie alone must also come from a page of this server: the `Origin` header, which a
page cannot forge, has to name the host that was asked, or stand in the operator's list. A Bearer token needs none of
this: no browser adds it by itself.
"""

from typing import Final
from urllib.parse import SplitResult, urlsplit

from fleetwire.errors import Problem

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_origin(origin: str | None, host: str | None, *, secure: bool, allowed: frozenset[str]) -> None:
    """Lets a request pass whose page may speak for the user.

    Args:
        origin: the `Origin` header; None when there is none, which a browser never leaves out where this is asked.
        host: the `Host` header.
        secure: the request itself came over TLS; then a page that did not may not speak for it.
        allowed: further origins in lower case, `https://console.example.com`.

    Raises:
        Problem: 403 `origin_forbidden`.
    """
    if origin is not None and host is not None:
        if origin.lower() in allowed:
            return
        if _same_host(origin, host, secure=secure):
            return
    raise Problem(
        "origin_forbidden",
        "With a session cookie this needs an Origin header that names this server.",
        status=403,
    )


def _same_host(origin: str, host: str, *, secure: bool) -> bool:
    try:
        page, server = urlsplit(origin), urlsplit(f"//{host}")
        if page.scheme not in _DEFAULT_PORTS or (secure and page.scheme != "https"):
            return False
        default_port = _DEFAULT_PORTS[page.scheme]
        return (
            _is_bare(page)
            and page.hostname == server.hostname
            and ((page.port or default_port) == (server.port or default_port))
        )
    except ValueError:  # A port that is no number, a bracket that is not closed.
        return False


def _is_bare(page: SplitResult) -> bool:
    """A header that a browser wrote holds scheme, host and port, nothing else."""
    return bool(page.hostname) and not (page.path or page.query or page.fragment or page.username)
