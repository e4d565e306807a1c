"""Spans of the store: one per group that is committed, one per statement of what is traced."""

import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, Tracer, get_current_span

from fleetwire._core import Batch
from fleetwire.postgres.slow_queries import name_of
from fleetwire.store.commit import GroupCommit
from fleetwire.store.commit_queue import WaitingBatch
from fleetwire.store.writer import Writer

MAX_LINKS: Final = 128  # of a span, as the SDK keeps them


class TracedWriter(Writer):
    """A writer whose groups are spans.

    A group is nobody's child: it stores the batches of many requests, and links to those that are sampled. It holds
    all tries of its commit and, where it is divided, those of its parts.
    """

    def __init__(self, pool: asyncpg.Pool, *, tracer: Tracer, **parts: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(pool, **parts)
        self._tracer = tracer
        self._requests: dict[int, SpanContext] = {}  # by the identity of the batch that waits

    async def write(self, tenant_id: int, device_id: int, batch: Batch) -> bytes:
        """As without tracing; remembers whose batch it is."""
        context = get_current_span().get_span_context()
        if not context.trace_flags.sampled:
            return await super().write(tenant_id, device_id, batch)
        self._requests[id(batch)] = context
        try:
            return await super().write(tenant_id, device_id, batch)
        finally:
            del self._requests[id(batch)]

    async def _answer(self, waiting: Sequence[WaitingBatch], on: GroupCommit) -> None:
        if not waiting:
            return
        asked = [found for each in waiting if (found := self._requests.get(id(each.batch))) is not None]
        attributes = {
            "fleetwire.batches": len(waiting),
            "fleetwire.fixes": sum(each.batch.accepted for each in waiting),
        }
        links = [Link(context) for context in asked[:MAX_LINKS]]
        with self._tracer.start_as_current_span("store group", links=links, attributes=attributes):
            await super()._answer(waiting, on)


def note_query(tracer: Tracer, record: Any) -> None:  # noqa: ANN401 - asyncpg's LoggedQuery
    """A span of a statement that has ended, within the request or group that waited for it; others have none.

    Its name is all that is told of it: among the parameters are hashes and positions.
    """
    # What waited may have ended just before this was called, and is a parent all the same.
    if not get_current_span().get_span_context().trace_flags.sampled:
        return
    ended_nanos = time.time_ns()  # the SDK's clock, so that a child lies within its parent
    name = name_of(record.query)
    span = tracer.start_span(
        name,
        kind=SpanKind.CLIENT,
        start_time=ended_nanos - round(record.elapsed * 1e9),
        attributes={"db.system.name": "postgresql", "db.query.summary": name},
    )
    if record.exception is not None:
        span.set_status(StatusCode.ERROR)
    span.end(ended_nanos)
