"""Answers to clients that went wrong: `application/problem+json` (RFC 9457), the same from every door."""

from http import HTTPStatus
from typing import Any

import msgspec

from fleetwire.errors import Problem

MEDIA_TYPE = b"application/problem+json"


def render(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of a problem answer."""
    document: dict[str, Any] = {"title": HTTPStatus(problem.status).phrase, **problem.members()}
    headers = [(b"content-type", MEDIA_TYPE), (b"cache-control", b"no-store")]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers().items()]
    return headers, msgspec.json.encode(document)
