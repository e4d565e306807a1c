"""One worker's tracer, and what is made with it for the parts that are traced."""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from fleetwire import __version__
from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.runtime import asgi
from fleetwire.settings import Settings
from fleetwire.settings.otlp_endpoint import traces_url
from fleetwire.store.traced_writer import TracedWriter, note_query
from fleetwire.store.writer import Writer
from fleetwire.telemetry.tracing.export import Exporting
from fleetwire.web.tracing import NamingCredentials, Requests

SERVICE: Final = "fleetwire"


class Tracing:
    """Opened at a worker's start if an endpoint is configured, and not otherwise: what is off costs no request."""

    credentials: type[Authenticator] = NamingCredentials

    def __init__(self, settings: Settings, endpoint: str) -> None:
        exporter = OTLPSpanExporter(endpoint=traces_url(endpoint))
        self._exporting = Exporting(exporter, queue_spans=settings.otlp_queue_spans)
        provider = TracerProvider(sampler=_Sampling(settings.otlp_ratio), resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._exporting)
        self._tracer = provider.get_tracer(SERVICE, __version__)

    async def stop(self) -> None:
        """Sends what is left."""
        await asyncio.to_thread(self._exporting.shutdown)

    def around(self, app: asgi.App) -> asgi.App:
        """The application with a span for every request."""
        return Requests(app, self._tracer)

    def writer(self, pool: asyncpg.Pool, **parts: Any) -> Writer:  # noqa: ANN401 - handed on
        """A writer with a span for every group."""
        return TracedWriter(pool, **parts, tracer=self._tracer)

    def query(self, record: Any) -> None:  # noqa: ANN401 - asyncpg's LoggedQuery
        """Takes a finished statement."""
        note_query(self._tracer, record)


class _Sampling(Sampler):
    """A part of what nobody asked for before; of what comes with a trace, what its beginner decided.

    A group that stores a batch of a sampled request is sampled, or the link would lead nowhere.
    """

    def __init__(self, ratio: float) -> None:
        self._by_parent = ParentBased(TraceIdRatioBased(ratio))

    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Whether a span is kept."""
        sampler = ALWAYS_ON if links else self._by_parent
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """For people."""
        return type(self).__name__


def _resource() -> Resource:
    """What the spans are of; the operator's own words about it, in OpenTelemetry's variables, win."""
    instance = f"{socket.gethostname()}:{os.getpid()}"
    about = {"service.name": SERVICE, "service.version": __version__, "service.instance.id": instance}
    return Resource.create(about).merge(OTELResourceDetector().detect())
