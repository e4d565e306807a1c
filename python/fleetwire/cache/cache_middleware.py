"""Stands in front of the framework: a GET of a cached route is answered from what is kept, without routing.

Who asks is found and held against the route's permission first, as for every route; then the key is built, and the
framework runs only if nothing is kept. What it answers is the same for all who share the key.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.access.identity.guards import FOUND_KEY, authenticate
from fleetwire.access.identity.principal import Principal
from fleetwire.cache.encodings import negotiate
from fleetwire.cache.entry import OK, RenderedAnswer, matches
from fleetwire.cache.responses import ResponseCache, State
from fleetwire.cache.rules import CacheRule, CacheRules
from fleetwire.errors import Problem
from fleetwire.runtime import asgi, clock
from fleetwire.telemetry import metrics

MAX_QUERY_BYTES: Final = 1024  # a longer one is answered by the framework each time
# What an answer must not depend on: it is made once for all who share the key.
_LEFT_OUT: Final = frozenset({b"accept-encoding", b"if-none-match", b"if-modified-since", b"if-range", b"range"})

_log = structlog.get_logger(__name__)


class CacheMiddleware:
    """The cache as an ASGI callable. `plain` is the framework, `others` what answers all that is not cached."""

    def __init__(
        self,
        *,
        plain: asgi.App,
        others: asgi.App,
        rules: CacheRules,
        responses: ResponseCache,
        credentials: Callable[[], Authenticator],
        versions: Mapping[str, Callable[[int], str]],
    ) -> None:
        """`versions` gives for each name that a rule may have the present version of a tenant's state."""
        self._plain = plain
        self._others = others
        self._rules = rules
        self._responses = responses
        self._credentials = credentials
        self._versions = versions

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Answers, or hands on."""
        rule = self._rules.find(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if rule is None or len(scope["query_string"]) > MAX_QUERY_BYTES:
            await self._others(scope, receive, send)
            return
        started_secs = clock.monotonic_secs()
        if self._rules.is_exact(scope["path"]):
            scope["path_template"] = scope["path"]  # The framework, which would name it for metrics, may not be asked.
        try:
            await self._answer(rule, scope, receive, send)
        except Problem as problem:
            await asgi.respond_problem(send, problem, started_secs=started_secs)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and answered
            _log.exception("A cached route failed.", path=scope["path"])
            fault = Problem("internal", "The server failed.", status=500)
            await asgi.respond_problem(send, fault, started_secs=started_secs)

    async def _answer(self, rule: CacheRule, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        started_secs = clock.monotonic_secs()
        principal = None
        if rule.permission is not None:
            principal = await authenticate(scope, self._credentials())
            if not principal.may(rule.permission):
                # The route's guard refuses, or lets pass who sees less and gets an answer of its own.
                await self._others(scope, receive, send)
                return
        sent = asgi.joined_headers(scope)
        encoding, plain_is_fine = negotiate(sent.get(b"accept-encoding"))
        if encoding is None:
            raise unacceptable()
        key = rule.key(scope["path"], scope["query_string"], principal)
        version = self._version(rule, principal)
        entry, state = await self._responses.answer(
            rule,
            principal,
            key,
            version,
            lambda: self._ask(scope, principal),
            is_exact=version is not None and b"no-cache" in sent.get(b"cache-control", b""),
        )
        if entry.answer.status != OK:
            head = [*entry.answer.headers, _STATES[state]]
            await asgi.respond(send, entry.answer.status, entry.answer.body, headers=head, started_secs=started_secs)
        elif (known := sent.get(b"if-none-match")) is not None and matches(known, entry.etag):
            metrics.CACHE_NOT_MODIFIED.inc()
            await asgi.respond_unchanged(send, [*entry.unchanged_head, _STATES[state]], started_secs=started_secs)
        else:
            usable = entry.usable(encoding, plain_is_fine=plain_is_fine)
            head, body = entry.ready(usable) or await entry.prepare(usable)
            await asgi.respond(send, OK, body, headers=[*head, _STATES[state]], started_secs=started_secs)

    def _version(self, rule: CacheRule, principal: Principal | None) -> str | None:
        if rule.cached.version is None or principal is None:
            return None
        return self._versions[rule.cached.version](principal.tenant_id)

    async def _ask(self, scope: asgi.Scope, principal: Principal | None) -> RenderedAnswer:
        """The framework's answer to a request without conditions, as a whole."""
        inner = {
            **scope,
            "headers": [pair for pair in scope["headers"] if pair[0] not in _LEFT_OUT],
            "state": dict(scope.get("state", {})),
        }
        if principal is not None:
            # Already found: between then and now its credential may have ended, which is not the others' fault.
            inner[FOUND_KEY] = principal
        collected = _Collected()
        await self._plain(inner, collected.receive, collected.send)
        return collected.answer()


class _Collected:
    """The other end of the framework's answer."""

    def __init__(self) -> None:
        self._status = 500
        self._headers: asgi.Headers = []
        self._parts: list[bytes] = []
        self._is_asked = False
        self._is_whole = asyncio.Event()

    async def receive(self) -> asgi.AsgiMessage:
        """The empty body; then a client that stays until it has the answer. A stream waits for it to go."""
        if self._is_asked:
            await self._is_whole.wait()
            return {"type": "http.disconnect"}
        self._is_asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: asgi.AsgiMessage) -> None:
        """Takes a part."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self._parts.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._is_whole.set()

    def answer(self) -> RenderedAnswer:
        """All parts together."""
        headers = [pair for pair in self._headers if pair[0] != b"content-length"]
        return RenderedAnswer(self._status, headers, b"".join(self._parts))


def unacceptable() -> Problem:
    """The 406 for a client that takes nothing that can be made here."""
    detail = "Answers come as br, zstd, gzip or plain, and Accept-Encoding refuses all of them."
    return Problem("encoding_unacceptable", detail, status=406)


_STATES: Final[dict[State, tuple[bytes, bytes]]] = {
    "HIT": (b"x-cache", b"HIT"),
    "MISS": (b"x-cache", b"MISS"),
    "STALE": (b"x-cache", b"STALE"),
}
