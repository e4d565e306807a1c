"""Answers to clients that went wrong: `application/problem+json` (RFC 9457), the same from every door."""

from http import HTTPStatus
from typing import Any

import msgspec

from fleetwire.errors import Problem
from fleetwire.runtime import request_id

MEDIA_TYPE = b"application/problem+json"
_UNREAD_BODY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


def render(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of a problem answer."""
    document: dict[str, Any] = {"title": HTTPStatus(problem.status).phrase, **problem.members()}
    headers = [(b"content-type", MEDIA_TYPE), (b"cache-control", b"no-store")]
    if (found := request_id.current()) is not None:
        # So that who is refused can name the line of the log.
        document["request_id"] = found
        headers.append((request_id.HEADER, found.encode()))
    if problem.status in _UNREAD_BODY:
        # The server closes the connection instead of reading the rest; a client must not send its next request there.
        headers.append((b"connection", b"close"))
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers().items()]
    return headers, msgspec.json.encode(document)
