"""Ended spans on their way to the receiver: a bounded queue, and a thread that sends what is in it.

Whoever ends a span never waits. When the queue is full the span is dropped and counted; when the receiver does not
answer, what was to be sent is counted as failed, and the next is tried. Nothing of that is an error of a request.
"""

import logging
import threading
from collections import deque
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from fleetwire.telemetry import metrics

SPANS_AT_ONCE: Final = 512
DELAY_SECS: Final = 1.0  # longest that a span waits for others to be sent with it
FLUSH_SECS: Final = 1.5  # for what is left at a stop

_log = structlog.get_logger(__name__)


class Exporting(SpanProcessor):
    """The queue and its thread."""

    def __init__(self, exporter: SpanExporter, *, queue_spans: int) -> None:
        # It logs every failure with its traceback; ours are counted, and logged when they begin.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = exporter
        self._queue_spans = queue_spans
        self._queue: deque[ReadableSpan] = deque()
        self._arrived = threading.Event()
        self._is_stopping = False
        self._is_failing = False
        self._thread = threading.Thread(target=self._send_on, name="spans", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Of no interest."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a span."""
        if len(self._queue) >= self._queue_spans:
            metrics.SPANS_DROPPED.inc()
            return
        self._queue.append(span)
        if len(self._queue) >= SPANS_AT_ONCE:
            self._arrived.set()

    def shutdown(self) -> None:
        """Sends what is left, as far as the receiver takes it within `FLUSH_SECS`."""
        self._is_stopping = True
        self._arrived.set()
        self._thread.join(FLUSH_SECS)
        self._exporter.shutdown()  # Ends a pause between two tries of it, too.

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nobody asks for it; `shutdown` flushes."""
        return True

    def _send_on(self) -> None:
        while not self._is_stopping:
            self._arrived.wait(DELAY_SECS)
            self._arrived.clear()
            while self._queue:
                self._send()

    def _send(self) -> None:
        spans = [self._queue.popleft() for _ in range(min(SPANS_AT_ONCE, len(self._queue)))]
        try:
            is_sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread has to go on
            _log.warning("Spans could not be sent.", error=repr(error))
            is_sent = False
        (metrics.SPANS_SENT if is_sent else metrics.SPANS_FAILED).inc(len(spans))
        if is_sent is self._is_failing:
            self._is_failing = not is_sent
            _log.info("Spans are sent again.") if is_sent else _log.warning("The receiver of spans does not take them.")
