"""Where spans go, and whether they can: asked before anything of OpenTelemetry is imported."""

from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

STANDARD_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""What every program with OpenTelemetry reads; ours comes before it."""
PATH: Final = "/v1/traces"

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def fault(endpoint: str) -> str | None:
    """Why spans cannot be sent there; None if they can."""
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "this is no address of an OTLP receiver, such as http://localhost:4318"
    if not all(map(_is_installed, _NEEDED)):
        return "tracing needs the packages of OpenTelemetry: pip install 'fleetwire[otel]'"
    return None


def traces_url(endpoint: str) -> str:
    """The address that traces are posted to: the configured one is the base of all signals, as OTLP has it."""
    return endpoint.rstrip("/") + PATH


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # A package that it lies in is missing.
        return False
