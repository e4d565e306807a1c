"""Spans for OpenTelemetry, where an endpoint is configured. Nothing here is imported otherwise, besides `endpoint`."""
