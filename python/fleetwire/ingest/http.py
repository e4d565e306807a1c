"""`POST /api/driver/location`: one batch per request, one receipt per answer."""

import structlog

from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.access.identity.guards import authenticate
from fleetwire.access.limits.rate_limit_middleware import stranger
from fleetwire.errors import Problem
from fleetwire.ingest.decode import Body
from fleetwire.ingest.limit import IngestLimit
from fleetwire.ingest.pipeline import Pipeline, RenderedReceipt
from fleetwire.runtime import asgi, clock, request_id
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

PATH = "/api/driver/location"

_log = structlog.get_logger(__name__)
_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"), *asgi.SAFE_HEADERS)


class LocationRoute:
    """The route as an ASGI callable in front of the framework."""

    def __init__(
        self, *, credentials: Authenticator, pipeline: Pipeline, limit: IngestLimit, settings: Settings
    ) -> None:
        self._credentials = credentials
        self._pipeline = pipeline
        self._limit = limit
        self._settings = settings

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Answers one request."""
        started_secs, sent = clock.monotonic_secs(), asgi.first_headers(scope)
        try:
            receipt = await self._take(scope, sent, receive)
        except asgi.ClientGone:
            return
        except Problem as problem:
            # Without a name of its own: it would keep the frames it was raised through, and the body in them.
            status = await _refuse(send, await stranger(self._limit.limits, scope, problem), started_secs)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and answered
            _log.exception("A batch failed.", path=PATH)
            fault = Problem("internal", "The server failed; nothing is acknowledged, send it again.", status=500)
            status = await _refuse(send, fault, started_secs)
        else:
            status = 202 if receipt.is_queued else 200
            # Only what was asked with an id is answered with one: making it would cost more than the receipt.
            named = ((request_id.HEADER, request_id.of(scope).encode()),) if request_id.HEADER in sent else ()
            headers = (*_HEADERS, *named)
            await asgi.respond(send, status, receipt.json, headers=headers, started_secs=started_secs)
        secs = clock.monotonic_secs() - started_secs
        metrics.HTTP_SECONDS.observe(("POST" if scope["method"] == "POST" else "other", PATH, str(status)), secs)

    async def _take(self, scope: asgi.Scope, sent: dict[bytes, bytes], receive: asgi.Receive) -> RenderedReceipt:
        if scope["method"] != "POST":
            raise Problem("method_not_allowed", "Batches are sent with POST.", status=405, allow="POST")
        generation = self._pipeline.generation
        principal = await authenticate(scope, self._credentials)
        if not principal.may("ingest"):
            # Counted as any other request of this credential: its refusals must not empty the bucket of batches.
            self._limit.limits.request(principal)
            principal.require("ingest")
        self._limit.request(principal)
        settings = self._settings
        data = await asgi.read_body(
            receive,
            announced=sent.get(b"content-length", b""),
            limit_bytes=settings.max_body_bytes,
            timeout_secs=settings.body_timeout_secs,
        )
        self._pipeline.check_generation(generation)  # Authentication and body may have taken seconds.
        encoding = sent.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        body = Body(data, sent.get(b"content-type", b"").decode("latin-1"), encoding)
        return await self._pipeline.take(principal, body, door=metrics.HTTP)


async def _refuse(send: asgi.Send, fault: Problem, started_secs: float) -> int:
    await asgi.respond_problem(send, fault, started_secs=started_secs)
    return fault.status
