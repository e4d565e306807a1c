"""What is around every answer but a receipt: an id, the headers that keep browsers safe, CORS, and the time it took.

An ASGI callable in front of the application. A batch over HTTP passes by it unless the operator named further origins
or a TLS proxy, or wants every request logged: its answers have the fixed headers from `asgi.respond`, and are counted
by its route.
"""

from itertools import chain
from typing import Final

import structlog

from fleetwire.errors import Problem
from fleetwire.ingest import http
from fleetwire.runtime import asgi, clock, request_id
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics
from fleetwire.web.console import security_headers
from fleetwire.web.head import HeadOnly
from fleetwire.web.http_deadlines import PieceDeadline, is_long, with_body_deadline

MAX_HEADER_BYTES: Final = 32 * 1024
HSTS_SECS: Final = 365 * 86_400
PREFLIGHT_SECS: Final = 600

# A page of ours shares no window with others, and others load nothing of ours without CORS.
COOP: Final = b"cross-origin-opener-policy"
CORP: Final = b"cross-origin-resource-policy"

UNKNOWN_ROUTE: Final = "other"
# Any method that is none of these is counted as one, whatever a client makes up.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ALLOWED_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_ALLOWED_HEADERS: Final = b"authorization, content-type, content-encoding, if-none-match, x-request-id"
_EXPOSED_HEADERS: Final = b"etag, ratelimit, ratelimit-policy, retry-after, x-cache, x-request-id, x-response-time"
_UNCHANGED: Final = 304
_OF_PAGES: Final = (b"text/html", b"text/javascript")

_log = structlog.get_logger(__name__)


class HttpMiddleware:
    """Wraps an application; to be the outermost."""

    def __init__(self, app: asgi.App, settings: Settings) -> None:
        self._app = app
        self._origins = settings.origins
        self._slow_secs = settings.slow_request_secs
        self._body_timeout_secs = settings.body_timeout_secs
        self._write_timeout_secs = settings.write_timeout_secs
        self._logs_all = settings.log_requests
        self._is_tls = settings.tls_proxy
        fixed = dict(asgi.SAFE_HEADERS) | {CORP: b"same-origin"}
        if self._is_tls:
            fixed[b"strict-transport-security"] = b"max-age=%d" % HSTS_SECS
        pages = {name.encode(): value.encode() for name, value in security_headers(settings).items()} | {
            COOP: b"same-origin"
        }
        self._fixed, self._of_pages = [*fixed.items()], [*(fixed | pages).items()]

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serves one connection of any type."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id.begin(scope)
        if self._is_tls:
            scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"
        if sum(map(len, chain.from_iterable(scope["headers"]))) > MAX_HEADER_BYTES:
            detail = f"The headers hold more than {MAX_HEADER_BYTES} bytes."
            await self._refuse(scope, send, Problem("headers_too_large", detail, status=431))
        elif not _has_one_host(scope):
            detail = "The request needs one Host header (RFC 9112, 3.2)."
            await self._refuse(scope, send, Problem("host_invalid", detail, status=400))
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        started_secs, method = clock.monotonic_secs(), scope["method"]
        receive = with_body_deadline(scope, receive, self._body_timeout_secs)
        pieces: PieceDeadline | None = None
        origin = asgi.header(scope, b"origin") if self._origins else ""
        cors = self._cors(origin)
        if method == "HEAD" and scope["path"] != http.PATH:
            scope["method"] = "GET"
            head_only = HeadOnly(receive, send)
            receive, send = head_only.receive, head_only.send

        async def send_wrapped(message: asgi.AsgiMessage) -> None:
            nonlocal pieces
            if message["type"] == "http.response.start":
                message["headers"] = self._dressed(scope, message, cors, started_secs)
                self._count(scope, method, message["status"], clock.monotonic_secs() - started_secs)
            elif pieces is not None or is_long(message):
                pieces = pieces or PieceDeadline(send, self._write_timeout_secs)
                await pieces.send(message)
                return
            await send(message)

        if cors and method == "OPTIONS" and asgi.header(scope, b"access-control-request-method"):
            await _answer_preflight(send_wrapped)
            return
        try:
            await self._app(scope, receive, send_wrapped)
        except Exception:
            if pieces is None or not pieces.has_expired:
                raise
        finally:
            for release in scope.get(asgi.AT_END_KEY, ()):
                release()

    def _cors(self, origin: str) -> asgi.Headers:
        """What lets the pages of an origin that the operator named read the answer; nothing for others."""
        if origin.lower() not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]

    def _dressed(
        self, scope: asgi.Scope, message: asgi.AsgiMessage, cors: asgi.Headers, started_secs: float
    ) -> asgi.Headers:
        headers: asgi.Headers = [*message.get("headers", ()), *cors]
        present = dict(headers)
        # A worker, too, obeys the policy that its own script came with.
        is_of_page = present.get(b"content-type", b"").startswith(_OF_PAGES)
        if message["status"] == _UNCHANGED:
            # It would replace the policy of the page that the browser kept.
            present[b"content-security-policy"] = b""
        fixed = self._of_pages if is_of_page else self._fixed
        headers += [pair for pair in fixed if pair[0] not in present]
        if self._origins:
            headers.append((b"vary", b"Origin"))
        if request_id.HEADER not in present:
            headers.append((request_id.HEADER, request_id.of(scope).encode()))
        if b"x-response-time" not in present:
            headers.append(asgi.response_time(started_secs))
        return headers

    def _count(self, scope: asgi.Scope, method: str, status: int, secs: float) -> None:
        is_batch = scope["path"] == http.PATH
        route = http.PATH if is_batch else scope.get("path_template") or UNKNOWN_ROUTE
        method = method if method in _METHODS else UNKNOWN_ROUTE
        if self._logs_all:
            millis = round(secs * 1000, 1)
            _log.info("A request was answered.", method=method, route=route, status=status, millis=millis)
        if is_batch:
            return  # It counts itself.
        metrics.HTTP_SECONDS.observe((method, route, str(status)), secs)
        if 0 < self._slow_secs < secs:
            metrics.SLOW_REQUESTS.inc()
            _log.warning("A request was slow.", method=method, route=route, status=status, millis=round(secs * 1000))

    async def _refuse(self, scope: asgi.Scope, send: asgi.Send, fault: Problem) -> None:
        if scope["type"] == "websocket":
            await asgi.deny(send, fault, started_secs=clock.monotonic_secs())
        else:
            await asgi.respond_problem(send, fault, started_secs=clock.monotonic_secs())


def _has_one_host(scope: asgi.Scope) -> bool:
    """Whether there is one Host, which HTTP/1.0 may leave out; the server underneath adds an empty one then."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return len(hosts) <= 1 and (scope["http_version"] != "1.1" or bool(hosts and hosts[0]))


async def _answer_preflight(send: asgi.Send) -> None:
    headers = [
        (b"access-control-allow-methods", _ALLOWED_METHODS),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
