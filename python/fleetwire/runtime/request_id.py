"""The id of the request at hand: the proxy's, if it is a sane one, otherwise made here.

It goes into logs, problem answers, the audit log and the name by which PostgreSQL shows the connection. A request whose
id nobody asks for never gets one: the hot way pays for a context variable, and for nothing else.
"""

import itertools
import re
import secrets
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

HEADER = b"x-request-id"
MAX_CHARS = 64

_KEY = "fleetwire.request_id"
# Nothing that a log, a header or a name in the database could take for anything but a word.
_SANE = re.compile(rb"[A-Za-z0-9._:-]{8,64}")
_OWN = secrets.token_hex(6)  # of this process
_NUMBERS = itertools.count(1)

_scope: ContextVar[MutableMapping[str, Any] | None] = ContextVar("fleetwire_request", default=None)


def begin(scope: MutableMapping[str, Any]) -> None:
    """From here on, what runs for this request finds its id."""
    _scope.set(scope)


def of(scope: MutableMapping[str, Any]) -> str:
    """The id of a request, made at the first question."""
    known = scope.get(_KEY)
    if known is None:
        known = scope[_KEY] = _presented(scope) or f"{_OWN}-{next(_NUMBERS):x}"
    return str(known)


def current() -> str | None:
    """The id of the request at hand; None outside of one."""
    scope = _scope.get()
    return None if scope is None else of(scope)


def _presented(scope: MutableMapping[str, Any]) -> str | None:
    for name, value in scope["headers"]:
        if name == HEADER:
            return value.decode("ascii") if _SANE.fullmatch(value) else None
    return None
