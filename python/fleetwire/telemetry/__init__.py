"""Metrics, health and traces of a worker."""
