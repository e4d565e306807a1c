"""The application a worker serves: three hot routes as plain ASGI callables, everything else Litestar.

    POST /api/driver/location -> ingest/http.py
    WS   /ws                  -> ingest/ws.py
    WS   /ws/dispatch         -> fanout/feed/dispatch_socket.py
    GET  of a cached route    -> cache/cache_middleware.py, which asks Litestar for what is not kept
    anything else             -> Litestar (web/api.py), its answers compressed (web/compression.py)

Around them stand web/http_middleware.py, which a batch passes by, and access/limits/rate_limit_middleware.py, which
counts all but a batch; that is counted by ingest/limit.py.

The framework costs a hot request more than decoding does; docs/adr/0005-hot-routes.md has the figures.
"""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable
from typing import cast

from litestar import Litestar

from fleetwire.access.limits.rate_limit_middleware import RateLimitMiddleware
from fleetwire.cache.cache_middleware import CacheMiddleware
from fleetwire.cache.rules import rules_of
from fleetwire.engine import Engine
from fleetwire.fanout.feed import dispatch_socket
from fleetwire.ingest import http, ws
from fleetwire.live.routes import LIVE_VERSION
from fleetwire.runtime import asgi, logs, request_id
from fleetwire.runtime.connection_limits import limit_unsent_data
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.server import worker_control
from fleetwire.server.serve import adopt_worker_signals
from fleetwire.settings import Settings
from fleetwire.web.api import create_api
from fleetwire.web.compression import compressing
from fleetwire.web.console import kept_files
from fleetwire.web.http_middleware import HttpMiddleware

LISTENING_POLL_SECS = 0.1
COLLECT_EVERY_OBJECTS = 20_000  # more than a group of batches makes; none of the hot way leaves cycles


def create_app() -> asgi.App:
    """The application of one worker, from the environment that `fleetwire serve` sets."""
    settings = Settings.from_env()
    logs.configure(level=settings.log_level, form=settings.log_format)
    engine = Engine(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        adopt_worker_signals(engine.drain)
        async with worker_control.listening(settings.runtime_dir, engine.answers()):
            bounding = None
            try:
                await engine.start_patiently()
                _calm_the_collector()
                bounding = spawn(_bound_unsent_data(settings), name="unsent-data")
                yield
            finally:
                await cancel(bounding)
                await engine.stop()
                if engine.tracing is not None:
                    await engine.tracing.stop()

    app = front_door(engine, create_api(engine, lifespan))
    return app if engine.tracing is None else engine.tracing.around(app)


async def _bound_unsent_data(settings: Settings) -> None:
    """Sets the listening socket as soon as there is one: the server opens it when the application has started."""
    while not limit_unsent_data(settings.port, 2 * settings.write_timeout_secs):  # noqa: ASYNC110 - nobody signals it
        await asyncio.sleep(LISTENING_POLL_SECS)


def _calm_the_collector() -> None:
    """What was loaded at the start stays: looking through it for cycles again took 7 % of a loaded worker's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY_OBJECTS, 20, 20)


def front_door(engine: Engine, api: Litestar) -> asgi.App:
    """Takes the hot routes and hands everything else on, past what is kept."""
    plain = cast("asgi.App", api)
    cached = CacheMiddleware(
        plain=plain,
        others=compressing(plain),
        rules=rules_of(api, kept_files()),
        responses=engine.responses,
        credentials=lambda: engine.gate.credentials,
        versions={LIVE_VERSION: engine.live.version},
    )

    async def others(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        kind = scope["type"]
        if kind == "websocket" and scope["path"] == ws.PATH:
            await engine.driver_socket(scope, receive, send)
        elif kind == "websocket" and scope["path"] == dispatch_socket.PATH:
            await engine.dispatch_socket(scope, receive, send)
        else:
            asgi.veil_slashes(scope)
            await cached(scope, receive, send)

    limited = RateLimitMiddleware(others, limits=engine.limits, gate=lambda: engine.gate)

    settings = engine.settings
    enveloped = HttpMiddleware(limited, settings)

    # Neither of these waits for anything itself: what they return is waited for, with a coroutine less each.

    def batch(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> Awaitable[None]:
        request_id.begin(scope)
        return engine.location_route(scope, receive, send)

    # Only who looks after browsers of other origins, or behind TLS, has something to add to a receipt.
    dresses = bool(settings.origins) or settings.tls_proxy or settings.log_requests
    batches = HttpMiddleware(batch, settings) if dresses else batch

    def front(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> Awaitable[None]:
        is_batch = scope["type"] == "http" and scope["path"] == http.PATH
        return (batches if is_batch else enveloped)(scope, receive, send)

    return front
