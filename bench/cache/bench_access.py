"""Times the authorisation of a request with a cached credential: authentication, permission and limits.

Calls the product's functions as a worker does: with an ASGI scope, the access services on the server's database, and
limits that never refuse. The calls run without an event loop: a query would have to wait, and fails the run.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg

from bench.micro.stopwatch import Stopwatch
from bench.server.start import TENANT
from fleetwire.access.accounts.owner_admin import create_user, issue_token
from fleetwire.access.auth import AuthServices, open_auth
from fleetwire.access.identity.guards import authenticate
from fleetwire.access.limits.rate_limit_middleware import RateLimitMiddleware
from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.ingest import http
from fleetwire.ingest.limit import IngestLimit
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pool import open_pool
from fleetwire.runtime import asgi
from fleetwire.settings import Settings

PASSWORD = "a password of the benchmark"
COUNTED = ("api", "api_tenant", "ingest", "ingest_tenant")
# Headers of a phone or a browser; the credential is appended.
_HEADERS = [
    (b"host", b"fleet.example:8000"),
    (b"user-agent", b"driver/3.1 (Android 16)"),
    (b"content-type", b"application/json"),
    (b"content-length", b"4711"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, br, zstd"),
]


async def authorisation(dsn: str, stopwatch: Stopwatch) -> dict[str, float]:
    """Returns microseconds per request, by kind of credential.

    Args:
        dsn: database of a running server.
        stopwatch: times the calls.

    Raises:
        AssertionError: a request with a cached credential queried the database.
    """
    owner = await asyncpg.connect(dsn)
    tokens = {
        "ingest_key": await issue_token(owner, TENANT, "ingest"),
        "device_token": await issue_token(owner, TENANT, "device", "van-of-the-bench"),
    }
    await create_user(owner, TENANT, "lou", PASSWORD, "dispatcher")
    await owner.close()
    pool = await open_pool(dsn, "fleetwire_app")
    limits = RateLimiter(Settings(limits=",".join(f"{name}=10000000/1" for name in COUNTED)))
    listener = Listener(dsn)
    gate = open_auth(pool, listener, limits=limits)
    await listener.start()
    try:
        tokens["login"] = (await gate.sessions.login(TENANT, "lou", PASSWORD)).token
        for token in tokens.values():
            await gate.credentials.principal(token)
        queries = gate.credentials.lookup.queries
        calls = {name: _batch(gate, token) for name, token in tokens.items() if name != "login"}
        calls["login"] = _read(gate, tokens["login"])
        times = stopwatch.interleaved(*calls.values())
        if gate.credentials.lookup.queries != queries:
            raise AssertionError("An authorisation queried the database.")
    finally:
        await listener.stop()
        await gate.close()
        pool.terminate()
    return {f"authorise_{name}_micros": micros for name, micros in zip(calls, times, strict=True)}


def _batch(gate: AuthServices, token: str) -> Callable[[], object]:
    """Authorises a batch like `ingest/http.py`, before it reads the body."""
    limit = IngestLimit(gate.limits)

    async def authorise(scope: asgi.Scope) -> None:
        principal = await authenticate(scope, gate.credentials)
        limit.request(principal)
        principal.require("ingest")

    return lambda: _run_without_waiting(authorise(_scope("POST", http.PATH, token)))


def _read(gate: AuthServices, token: str) -> Callable[[], object]:
    """Authorises a read like the middleware of `access/limits/rate_limit_middleware.py` and the guard of the route."""

    async def app(scope: asgi.Scope, _: asgi.Receive, __: asgi.Send) -> None:
        (await authenticate(scope, gate.credentials)).require("watch")

    front = RateLimitMiddleware(app, limits=gate.limits, gate=lambda: gate)
    return lambda: _run_without_waiting(front(_scope("GET", "/api/live", token), _nothing, _discard))


def _scope(method: str, path: str, token: str) -> asgi.Scope:
    headers = [*_HEADERS, (b"authorization", b"Bearer " + token.encode())]
    return {"type": "http", "method": method, "path": path, "headers": headers, "client": ("192.0.2.7", 4711)}


def _run_without_waiting(work: Coroutine[Any, Any, object]) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise AssertionError("An authorisation had to wait.")


async def _nothing() -> asgi.AsgiMessage:
    return {}


async def _discard(_: asgi.AsgiMessage) -> None:
    """Discards the answer."""
