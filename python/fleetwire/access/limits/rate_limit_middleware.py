"""The limits of every request but a batch, in one place in front of the framework: no route can be without.

    /livez                              none: it does nothing
    /readyz, /health                    health, by address
    documents, the console's files      pages, by address
    /api/login                          anonymous, by address, unless the browser is known; the handler counts by name
    /api/session/renew, /api/logout     credential, by address and credential
    anything else                       of its user (api) or device (ingest), whoever that is; otherwise anonymous

Who asks is found out here, and kept for the route. A batch over HTTP passes by: ingest/limit.py counts it.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from fleetwire._core import Policy
from fleetwire.access.accounts.device_cookie import DEVICE_COOKIE
from fleetwire.access.auth import AuthServices
from fleetwire.access.identity.bearer import cookie_of
from fleetwire.access.identity.guards import FOUND_KEY, authenticate
from fleetwire.access.limits.rate_limiter import LimitHit, RateLimiter
from fleetwire.errors import Overloaded, Problem, RateLimited
from fleetwire.runtime import asgi, clock

_EXACT: Final = {
    "/readyz": "health",
    "/health": "health",
    "/": "pages",
    "/openapi.json": "pages",
    "/asyncapi.json": "pages",
    "/api/console": "pages",
    "/api/login": "login",
    "/api/session/renew": "credential",
    "/api/logout": "credential",
}
_BELOW: Final = {"api-docs": "pages", "assets": "pages"}
_OF_STRANGERS: Final = frozenset({401, 405})


class RateLimitMiddleware:
    """An ASGI callable around the application."""

    def __init__(self, app: asgi.App, *, limits: RateLimiter, gate: Callable[[], AuthServices]) -> None:
        """`gate` is asked per request: the application is put together before its pool is open."""
        self._app = app
        self._limits = limits
        self._gate = gate

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Hands a request on, or answers 429."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started_secs = clock.monotonic_secs()
        try:
            taken = await self._admit(scope)
        except RateLimited as refused:
            if scope["type"] == "websocket":
                await asgi.deny(send, refused, started_secs=started_secs)
            else:
                await asgi.respond_problem(send, refused, started_secs=started_secs)
            return
        await self._app(scope, receive, self._telling(send, taken) if taken and scope["type"] == "http" else send)

    async def _admit(self, scope: asgi.Scope) -> LimitHit | None:
        """Counts a request; None where it has no limit.

        Raises:
            RateLimited: it is over one.
        """
        # As the framework reads a path: no slash more or less makes another route of it.
        parts = [part for part in scope["path"].split("/") if part]
        path = "/" + "/".join(parts)
        if path == "/livez":
            return None
        kind = _EXACT.get(path) or (_BELOW.get(parts[0]) if parts else None)
        if scope["type"] == "websocket" or kind is None:
            return await self._of_asker(scope, path)
        network, policies = self._limits.addresses.network(scope), self._limits.policies()
        if kind == "credential":
            return await self._ask(policies[kind], network, _presented(scope))
        if kind == "login" and await self._gate().device_cookies.read(cookie_of(scope, DEVICE_COOKIE)) is not None:
            return None  # The handler counts it by the browser: others of its address do not use up its limit.
        policy = policies["anonymous" if kind == "login" else kind]
        return self._take(policy, network, "")

    async def _of_asker(self, scope: asgi.Scope, path: str) -> LimitHit | None:
        try:
            principal = await authenticate(scope, self._gate().credentials)
        except Overloaded as problem:  # Says nothing about who asks.
            scope[FOUND_KEY] = problem.with_traceback(None)
            return None
        except Problem as problem:
            scope[FOUND_KEY] = problem.with_traceback(None)
            network = self._limits.addresses.network(scope)
            return await self._ask(self._limits.policies()["anonymous"], network, "")
        scope[FOUND_KEY] = principal
        return self._limits.request(principal, is_metrics=path == "/metrics")

    def _take(self, policy: Policy | None, scope: str, key: str) -> LimitHit | None:
        self._limits.take(policy, scope, key, 1, clock.monotonic_secs())
        return None if policy is None else LimitHit(policy, scope, key)

    async def _ask(self, policy: Policy | None, scope: str, key: str) -> LimitHit | None:
        await self._limits.ask(policy, scope, key)
        return None if policy is None else LimitHit(policy, scope, key)

    def _telling(self, send: asgi.Send, taken: LimitHit) -> asgi.Send:
        """A `send` that adds the limit's headers, unless the answer names a narrower limit."""

        async def send_telling(message: asgi.AsgiMessage) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if b"ratelimit" not in dict(headers):
                    fields = self._limits.fields(taken).items()
                    headers += [(name.lower().encode(), value.encode()) for name, value in fields]
                    message["headers"] = headers
            await send(message)

        return send_telling


async def stranger(limits: RateLimiter, scope: asgi.Scope, problem: Problem) -> Problem:
    """The answer to a batch that nobody known sent: `problem`, or 429 where its address sends too many of them."""
    if problem.status not in _OF_STRANGERS and problem.code != "origin_forbidden":
        return problem
    try:
        await limits.ask(limits.policies()["anonymous"], limits.addresses.network(scope), "")
    except RateLimited as refused:
        return refused
    return problem


def _presented(scope: asgi.Scope) -> str:
    """Tells credentials apart without keeping them; the same for all requests without one."""
    found = hashlib.sha256()
    for name, value in scope["headers"]:
        if name in {b"authorization", b"cookie"}:
            found.update(name + b":" + value + b"\n")
    return found.hexdigest()[:32]
