"""Structured logs on stderr: lines for people at a terminal, JSON for machines."""

import io
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from fleetwire.runtime import request_id
from fleetwire.runtime.terminal import visible, visible_lines


def configure(*, level: str, form: str) -> None:
    """Sets up structlog and lets the standard library's loggers speak through it."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _name_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if form == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        # A client's text must not move the cursor, or pretend to be a line of the log.
        shared.append(_make_visible)
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Not the pretty one: it prints local variables, and among them are tokens.
            exception_formatter=_visible_traceback,
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("_granian").setLevel(logging.WARNING)


def _make_visible(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value)
    return event


def _visible_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    formatted = io.StringIO()
    structlog.dev.plain_traceback(formatted, exc_info)
    out.write(visible_lines(formatted.getvalue()))


def _name_request(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the id of the request at hand, if there is one."""
    if (found := request_id.current()) is not None:
        event.setdefault("request_id", found)
    return event
