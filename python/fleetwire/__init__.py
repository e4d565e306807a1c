"""Fleetwire: a fleet telemetry ingest engine."""
