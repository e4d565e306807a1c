"""Makes the framework's description of the API whole: examples, media types, and every refusal with its codes.

The framework knows parameters and types. It takes errors for its own and does not know ours, nor what a handler does
with a raw body; what it leaves out stands in `web/openapi/examples.py`, and what follows from the kind of a route here.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fleetwire.web.openapi.examples import ROUTES, Route

_PROBLEM: Final = "application/problem+json"
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). Programs read `code`.",
    "required": ["title", "status", "code", "detail"],
    "properties": {
        "title": {"type": "string", "description": "The phrase of the status."},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; the table of all is in docs/protocol.md."},
        "detail": {"type": "string", "description": "A sentence for people."},
        "request_id": {"type": "string", "description": "Finds the line in the server's log."},
    },
}
_NEEDS_CREDENTIAL: Final = {
    "401": ["token_missing", "token_invalid", "token_expired", "token_revoked"],
    "403": ["forbidden"],
    "503": ["access_busy", "access_unavailable"],
}
_WRITES: Final = frozenset({"post", "put", "patch", "delete"})
_UNLIMITED: Final = "/livez"
_NO_DATABASE: Final = frozenset({"/livez", "/readyz", "/health", "/metrics", "/api/console", "/api/console/overlay"})
_CODE: Final = re.compile(r"`([a-z]+(?:_[a-z]+)+|internal|stopping|forbidden)`")
_PARAMETERS: Final = {
    "name": "A name, percent-encoded.",
    "order": "The order's name, percent-encoded.",
    "session_id": "The session's id.",
    "token_id": "The token's number.",
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what it lacks; `document` is changed."""
    document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _SCHEMA
    for path, item in document["paths"].items():
        for method, operation in item.items():
            route = ROUTES.get((method, path))
            operation["description"] = _without_sections(operation.get("description", ""))
            for parameter in operation.get("parameters", ()):
                parameter.setdefault("description", _PARAMETERS.get(parameter["name"], ""))
            if route is not None:
                _describe(operation, route, _all_codes(method, path, operation, route))
            _show_problems(operation["responses"])
    return document


def _without_sections(text: str) -> str:
    """A docstring without what it says to programmers: the refusals are told one by one."""
    return text.partition("\n\nRaises:")[0].partition("\n\nErrors:")[0].strip()


def _all_codes(method: str, path: str, operation: dict[str, Any], route: Route) -> dict[str, list[str]]:
    """The codes by status: the route's own first, then those of its kind."""
    found: dict[str, list[str]] = {}

    def add(status: str, *codes: str) -> None:
        known = found.setdefault(status, [])
        known += [code for code in codes if code not in known]

    for status, codes in _own_codes(route):
        add(status, *codes)
    is_open = operation.get("security") == []
    if not is_open and path != "/api/logout":  # That one looks at its token itself.
        for status, codes in _NEEDS_CREDENTIAL.items():
            add(status, *codes)
        if method in _WRITES:
            add("403", "origin_forbidden")
    if "requestBody" in operation or route.body is not None or operation.get("parameters"):
        add("400", "request_invalid")
    if method == "get":
        add("406", "encoding_unacceptable")
    if path != _UNLIMITED:
        add("429", "rate_limited")
    if path not in _NO_DATABASE:
        add("503", "database_unavailable")
    add("500", "internal")
    return found


def _own_codes(route: Route) -> Iterator[tuple[str, list[str]]]:
    for part in filter(None, route.codes.split(", ")):
        status, *codes = part.split()
        yield status, codes


def _describe(operation: dict[str, Any], route: Route, codes: dict[str, list[str]]) -> None:
    responses: dict[str, Any] = operation["responses"]
    if route.body is not None:
        body = operation.setdefault("requestBody", {"required": True, "content": {}})
        body["content"].setdefault("application/json", {"schema": {"type": "object"}})["example"] = route.body
    success = next(status for status in responses if status.startswith("2"))
    responses[success]["description"] = HTTPStatus(int(success)).phrase
    if route.answer is None:
        responses[success].pop("content", None)
    elif route.media:
        responses[success]["content"] = {
            media: {"schema": {"type": "string" if isinstance(example, str) else "object"}, "example": example}
            for media, example in route.answer.items()
        }
    else:
        responses[success]["content"]["application/json"]["example"] = route.answer
    for status, example in route.other.items():
        responses[status] = {"description": HTTPStatus(int(status)).phrase}
        if example is not None:
            schema = responses[success]["content"]["application/json"]["schema"]
            responses[status]["content"] = {"application/json": {"schema": schema, "example": example}}
    for status, named in codes.items():
        told = {"description": ", ".join(f"`{code}`" for code in named) + "."}
        known = responses.get(status) if status in route.other else None
        if known is None:
            responses[status] = {**told, "content": {_PROBLEM: {}}}
        else:
            known["content"][_PROBLEM] = {}
            known["description"] += f"; or {told['description']}"
    operation["responses"] = dict(sorted(responses.items()))


def _show_problems(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        content = response.get("content", {})
        if _PROBLEM in content:
            (code, *_) = _CODE.findall(response["description"]) or ["request_refused"]
            content[_PROBLEM] = {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {
                    "title": HTTPStatus(int(status)).phrase,
                    "status": int(status),
                    "code": code,
                    "detail": "What was wrong, for people.",
                    "request_id": "5f0c29a1b7d3-1a",
                },
            }
