"""Fleetwire: a fleet telemetry ingest engine."""

from fleetwire._core import __version__, build_profile

__all__ = ["__version__", "build_profile"]
