"""Everything that is not hot, as an ordinary Litestar application."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException

from fleetwire.access.accounts.admin_routes import admin_router
from fleetwire.access.accounts.routes import access_dependencies, access_router
from fleetwire.access.identity.guards import AccessMiddleware
from fleetwire.engine import Engine
from fleetwire.errors import DatabaseAway, Problem
from fleetwire.fanout.events.event_routes import event_router
from fleetwire.fanout.sockets.stats import stats_router
from fleetwire.fleet.devices.routes import devices_router
from fleetwire.fleet.orders.routes import orders_router
from fleetwire.live.routes import live_router
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime import client_data, problem
from fleetwire.web.asyncapi import asyncapi_document
from fleetwire.web.console import console_routes
from fleetwire.web.openapi.openapi import describe_hot_routes, openapi_config, openapi_document
from fleetwire.web.ops import ops_router

MAX_BODY_BYTES = 1024 * 1024  # of everything but a batch, which has a setting of its own

_log = structlog.get_logger(__name__)


class ApiRequest(Request[Any, Any, Any]):
    """A request whose JSON body is decoded by the one decoder for what clients send."""

    async def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """Decodes the body.

        Raises:
            Problem: 400 `request_invalid`.
        """
        try:
            return client_data.decode(client_data.ANY, await self.body() or b"null")
        except client_data.Undecodable as error:
            raise Problem("request_invalid", f"The body is not JSON: {error}.", status=400) from None


def create_api(engine: Engine, lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]) -> Litestar:
    """The application around one engine."""
    api = Litestar(
        route_handlers=[
            access_router(),
            admin_router,
            live_router,
            devices_router,
            event_router,
            stats_router,
            orders_router,
            ops_router,
            openapi_document,
            asyncapi_document,
            *console_routes(),
        ],
        dependencies={
            **_parts_of(engine),
            **access_dependencies(lambda: engine.gate),
        },
        middleware=[AccessMiddleware(lambda: engine.gate)],
        exception_handlers={
            Problem: _answer_problem,
            HTTPException: _answer_http_exception,
            Exception: _answer_failure,
        },
        request_class=ApiRequest,
        lifespan=[lifespan],
        openapi_config=openapi_config(engine.settings),
        request_max_body_size=MAX_BODY_BYTES,
        debug=False,
        logging_config=None,
    )
    describe_hot_routes(api)
    return api


def _parts_of(engine: Engine) -> dict[str, Provide]:
    """The parts of a worker that routes take by name. Most exist only after its start, so each request reads them."""

    def provide(part: Callable[[], Any]) -> Provide:
        return Provide(part, sync_to_thread=False)

    return {
        "app_pool": provide(lambda: engine.app_pool),
        "devices": provide(lambda: engine.devices),
        "event_hub": provide(lambda: engine.events),
        "health": provide(lambda: engine.health),
        "listener": provide(lambda: engine.listener),
        "live": provide(lambda: engine.live),
        "packed_metrics": provide(lambda: engine.packed_metrics()),  # noqa: PLW0108 - the method is no plain function
        "pools": provide(lambda: engine.pools),
        "relay": provide(lambda: engine.relay),
        "retention": provide(lambda: engine.retention),
        "responses": provide(lambda: engine.responses),
        "set_live_order": provide(lambda: engine.set_order),
        "settings": provide(lambda: engine.settings),
        "sockets": provide(lambda: engine.sockets),
        "streams": provide(lambda: engine.streams),
        "writer": provide(lambda: engine.writer),
    }


def _answer_problem(_: Request[Any, Any, Any], fault: Problem) -> Response[bytes]:
    headers, body = problem.render(fault)
    named = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status_code=fault.status, headers=named, media_type=problem.MEDIA_TYPE.decode())


def _answer_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The framework's own refusals in our form; the codes follow from the status."""
    codes = {400: "request_invalid", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    detail = str(error.detail)
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        detail = "; ".join(f"{fault.get('key', 'body')}: {fault.get('message')}" for fault in error.extra)
    code = codes.get(error.status_code, "request_refused")
    allow = (error.headers or {}).get("allow")
    problem = Problem(code, detail, status=error.status_code, allow=None if allow is None else _with_head(allow))
    return _answer_problem(request, problem)


def _with_head(allow: str) -> str:
    """The methods of a route; the framework does not know that HEAD is answered wherever GET is."""
    methods = allow.split(", ")
    return ", ".join(sorted([*methods, "HEAD"] if "GET" in methods else methods))


def _answer_failure(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if isinstance(error, TRANSIENT):
        return _answer_problem(request, DatabaseAway())
    _log.error("A request failed.", path=request.url.path, method=request.method, exc_info=error)
    return _answer_problem(request, Problem("internal", "The server failed.", status=500))
