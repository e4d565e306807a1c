"""The API's description: `/openapi.json`, and `/api-docs` for people, from assets of our own.

The hot routes are no routes of the framework; they are described here so that the document is whole.
"""

from typing import Any

from litestar import Litestar, Request, Response, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    PathItem,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from fleetwire import __version__
from fleetwire.cache.rules import OPTION, Cached
from fleetwire.errors import Problem
from fleetwire.ingest import http
from fleetwire.settings import Settings
from fleetwire.web.console import FOLDER, security_headers
from fleetwire.web.openapi.complete import complete

_FIX = {
    "timestamp": 1763768400000,
    "latitude": 48.137154,
    "longitude": 11.576124,
    "accuracy": 5.0,
    "altitude": 519.0,
    "heading": 271.0,
    "speed": 13.4,
    "battery": 0.8,
}
_BATCH: dict[str, Any] = {"device": "truck-7", "fixes": [_FIX]}
_REJECT = {"index": 3, "code": "latitude_range", "detail": "latitude is out of range: a number from -90 to 90 degrees."}
_RECEIPT: dict[str, Any] = {"stored": 48, "duplicate": 1, "rejected": [_REJECT]}
_QUEUED: dict[str, Any] = {"queued": 49, "rejected": []}
_OUTCOMES = {
    "200": "The receipt: stored + duplicate + rejected are the fixes sent. What it calls stored is committed.",
    "202": "Only with `--spool`, while the database is away: the fixes are on the server's disk and stored later.",
    "400": "`json_syntax`, `device_missing` and others: the envelope cannot be read, nothing was stored.",
    "401": "`token_missing`, `token_invalid`, `token_expired`, `token_revoked`.",
    "403": "`forbidden`, `device_mismatch`, `device_limit`, `origin_forbidden`.",
    "405": "`method_not_allowed`.",
    "408": "`body_timeout`.",
    "413": "`batch_too_large` (over 10,000 fixes), `body_too_large`.",
    "415": "`content_type_unsupported`, `content_encoding_unsupported`.",
    "429": "`rate_limited`: nothing was stored, send it again after `Retry-After` seconds.",
    "500": "`internal`.",
    "503": "Send it again after `Retry-After` seconds: `intake_full`, `database_unavailable`, `store_failed`, "
    "`store_timeout`, `timestamp_spread`, `day_unavailable`, "
    "`stopping`, `access_busy`, `access_unavailable`, `spool_full`, `spool_failed`.",
}


DOCUMENT_SECS = 600.0  # it stays the same as long as the worker runs


class BundledSwagger(OpenAPIRenderPlugin):
    """The page that was built with the console: it loads `/openapi.json` and nothing from another host."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """The page.

        Raises:
            Problem: 503 `docs_unbuilt`.
        """
        page = FOLDER / "api-docs.html"
        if not page.is_file():
            raise Problem("docs_unbuilt", "The pages are not built: run `make build`.", status=503)
        return page.read_bytes()


def openapi_config(settings: Settings) -> OpenAPIConfig:
    """What Litestar shall say of itself."""
    return OpenAPIConfig(
        title="Fleetwire",
        version=__version__,
        description="Fleet telemetry ingest: batches of fixes in, receipts out; live positions and tracks. The "
        "WebSockets are described in [/asyncapi.json](/asyncapi.json).",
        openapi_router=Router(
            "/api-docs",
            route_handlers=[],
            include_in_schema=False,
            opt={"public": True},
            response_headers=security_headers(settings),
        ),
        render_plugins=[BundledSwagger(path="/")],
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", description="Any credential.")}
        ),
        security=[{"bearer": []}],
        use_handler_docstrings=True,
    )


@get(
    "/openapi.json",
    public=True,
    include_in_schema=False,
    opt={OPTION: Cached(secs=DOCUMENT_SECS, scope="everyone", is_shared=False, cache_control="no-cache")},
)
async def openapi_document(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """The description as JSON."""
    return Response(complete(request.app.openapi_schema.to_schema()))


def describe_hot_routes(api: Litestar) -> None:
    """Adds the routes that stand in front of the framework to its document."""
    api.openapi_schema.paths = {**(api.openapi_schema.paths or {}), http.PATH: PathItem(post=_location())}


def _location() -> Operation:
    batch = OpenAPIMediaType(
        schema=_described("A batch: an envelope, a bare array of fixes, or one fix."), example=_BATCH
    )
    receipt = OpenAPIMediaType(schema=_described("The receipt."), example=_RECEIPT)
    queued = OpenAPIMediaType(schema=_described("The receipt of a batch that waits."), example=_QUEUED)
    refusal = OpenAPIMediaType(schema=_described("What went wrong."))  # As everywhere; see web/openapi/complete.py.
    successes = {"200": receipt, "202": queued}
    responses: dict[str, OpenAPIResponse | Reference] = {
        status: OpenAPIResponse(
            description=meaning,
            content={"application/json": successes[status]}
            if status in successes
            else {"application/problem+json": refusal},
        )
        for status, meaning in _OUTCOMES.items()
    }
    return Operation(
        operation_id="sendBatch",
        tags=["Ingest"],
        summary="Send a batch of fixes",
        description="Stores every new fix exactly once, however often and in whatever order batches are sent. "
        "A bad fix is refused by its index, the rest is stored. Bodies may be gzip.",
        request_body=RequestBody(required=True, content={"application/json": batch, "application/msgpack": batch}),
        responses=responses,
    )


def _described(description: str) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, description=description)
