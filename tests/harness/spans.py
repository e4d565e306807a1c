"""A receiver of OTLP over HTTP, which keeps the spans that it is sent."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

WITHIN_SECS = 30.0


class Span(NamedTuple):
    """What a test looks at."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    resource: dict[str, Any]
    is_error: bool
    start_nanos: int
    end_nanos: int


class Receiver:
    """What came so far. While `is_silent` it takes a request and never answers."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.is_silent = False
        self.asked = 0
        self.is_over = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """Takes one export."""
        self.asked += 1
        if self.is_silent:
            await self.is_over.wait()
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _plain(of_resource.resource.attributes)
            self.spans += [_span(each, resource) for scope in of_resource.scope_spans for each in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    async def until(self, holds: Callable[[Span], bool]) -> Span:
        """The first span of which that holds, as soon as it is here."""
        async with asyncio.timeout(WITHIN_SECS):
            while not (found := [span for span in self.spans if holds(span)]):
                await asyncio.sleep(0.05)
        return found[0]


def _span(span: Any, resource: dict[str, Any]) -> Span:
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        _plain(span.attributes),
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        resource,
        span.status.code == span.status.STATUS_CODE_ERROR,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver for the time of a block."""
    receiver = Receiver()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        receiver.is_over.set()
        await runner.cleanup()
