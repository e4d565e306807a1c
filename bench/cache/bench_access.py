"""What authorising a hot request takes: who it is, may they, and are they within their limits; all remembered.

The product's own functions with what they are handed by a worker: an ASGI scope, a gate on the stage's database, and
limits that never refuse. They run to their end without an event loop: a query would have to wait, and fails the run.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg

from bench.cache.stage import TENANT
from bench.micro.stopwatch import Stopwatch
from fleetwire import asgi
from fleetwire.access.front import Front
from fleetwire.access.gate import Gate, open_gate
from fleetwire.access.guards import authenticate
from fleetwire.access.issue import create_user, issue_token
from fleetwire.access.limits import Limits
from fleetwire.ingest import http
from fleetwire.ingest.limit import IngestLimit
from fleetwire.settings import Settings
from fleetwire.store.embedded import borrow
from fleetwire.store.listener import Listener
from fleetwire.store.pool import open_pool

PASSWORD = "a password of the benchmark"
COUNTED = ("api", "api_tenant", "ingest", "ingest_tenant")
# As a phone and a browser send them, the credential last.
_HEADERS = [
    (b"host", b"fleet.example:8000"),
    (b"user-agent", b"driver/3.1 (Android 16)"),
    (b"content-type", b"application/json"),
    (b"content-length", b"4711"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, br, zstd"),
]


async def authorisation(folder: Path, stopwatch: Stopwatch) -> dict[str, float]:
    """Microseconds per request.

    Args:
        folder: of a stage that is up.
        stopwatch: for the calls.

    Raises:
        AssertionError: a request of a credential that was met before asked the database.
    """
    with borrow(folder / "data") as dsn:
        owner = await asyncpg.connect(dsn)
        tokens = {
            "ingest_key": await issue_token(owner, TENANT, "ingest"),
            "device_token": await issue_token(owner, TENANT, "device", "van-of-the-bench"),
        }
        await create_user(owner, TENANT, "lou", PASSWORD, "dispatcher")
        await owner.close()
        pool = await open_pool(dsn, "fleetwire_app")
        limits = Limits(Settings(limits=",".join(f"{name}=10000000/1" for name in COUNTED)))
        listener = Listener(dsn)
        gate = open_gate(pool, listener, limits=limits)
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
                raise AssertionError("An authorisation asked the database.")
        finally:
            await listener.stop()
            await gate.close()
            pool.terminate()
    return {f"authorise_{name}_micros": micros for name, micros in zip(calls, times, strict=True)}


def _batch(gate: Gate, token: str) -> Callable[[], object]:
    """As `ingest/http.py` asks, before it reads the body."""
    limit = IngestLimit(gate.limits)

    async def authorise(scope: asgi.Scope) -> None:
        principal = await authenticate(scope, gate.credentials)
        limit.request(principal)
        principal.require("ingest")

    return lambda: _at_once(authorise(_scope("POST", http.PATH, token)))


def _read(gate: Gate, token: str) -> Callable[[], object]:
    """As `access/front.py` asks, and the guard of the route."""

    async def app(scope: asgi.Scope, _: asgi.Receive, __: asgi.Send) -> None:
        (await authenticate(scope, gate.credentials)).require("watch")

    front = Front(app, limits=gate.limits, gate=lambda: gate)
    return lambda: _at_once(front(_scope("GET", "/api/live", token), _nothing, _away))


def _scope(method: str, path: str, token: str) -> asgi.Scope:
    headers = [*_HEADERS, (b"authorization", b"Bearer " + token.encode())]
    return {"type": "http", "method": method, "path": path, "headers": headers, "client": ("192.0.2.7", 4711)}


def _at_once(work: Coroutine[Any, Any, object]) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise AssertionError("An authorisation had to wait.")


async def _nothing() -> asgi.Message:
    return {}


async def _away(_: asgi.Message) -> None:
    """Nobody reads the answer."""
