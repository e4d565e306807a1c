"""A span for every HTTP request: method, route, status, id and tenant; continues the trace that the client named.

Lines of the log that a request causes name its trace. No path, query, address or name of a device is in a span: the
route's template is, and the tenant's name.
"""

from typing import Final

from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.contextvars import bound_contextvars

from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.access.identity.principal import Principal
from fleetwire.ingest import http
from fleetwire.runtime import asgi, request_id

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD: Final = "_OTHER"  # OpenTelemetry's word for a method that a client made up
_FAILURE: Final = 500
_propagator: Final = TraceContextTextMapPropagator()


class _OfScope(Getter[asgi.Scope]):
    def get(self, carrier: asgi.Scope, key: str) -> list[str] | None:
        wanted = key.encode()
        return [value.decode("latin-1") for name, value in carrier["headers"] if name == wanted] or None

    def keys(self, carrier: asgi.Scope) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier["headers"]]


_HEADERS: Final = _OfScope()


class Requests:
    """An ASGI callable around the application; sockets pass by, since they are no request."""

    def __init__(self, app: asgi.App, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serves one request within a span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else _OTHER_METHOD
        span = self._tracer.start_span(
            method,
            context=_propagator.extract(scope, Context(), _HEADERS),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.scheme": scope.get("scheme", "http")},
        )
        token = attach(set_span_in_context(span, Context()))
        try:
            if span.is_recording():
                with bound_contextvars(trace_id=format_trace_id(span.get_span_context().trace_id)):
                    await self._app(scope, receive, _noting_status(span, send))
            else:
                await self._app(scope, receive, send)
        finally:
            detach(token)
            if span.is_recording():
                _describe(span, scope, method)
            span.end()


class NamingCredentials(Authenticator):
    """Names the tenant in the request's span as soon as it is known."""

    async def principal(self, token: str) -> Principal:
        """As without tracing."""
        found = await super().principal(token)
        _name_tenant(found)
        return found

    def remembered(self, token: str) -> Principal | None:
        """As without tracing."""
        found = super().remembered(token)
        if found is not None:
            _name_tenant(found)
        return found


def _name_tenant(found: Principal) -> None:
    get_current_span().set_attribute("fleetwire.tenant", found.tenant)


def _noting_status(span: Span, send: asgi.Send) -> asgi.Send:
    async def noting(message: asgi.AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= _FAILURE:
                span.set_status(StatusCode.ERROR)
        await send(message)

    return noting


def _describe(span: Span, scope: asgi.Scope, method: str) -> None:
    """What is only known afterwards. A route that there is not has no name: a client could make up any number."""
    span.set_attribute("fleetwire.request_id", request_id.of(scope))
    route = http.PATH if scope["path"] == http.PATH else scope.get("path_template")
    if route:
        span.set_attribute("http.route", route)
        span.update_name(f"{method} {route}")
