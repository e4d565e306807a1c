"""Benchmark of the relay between workers."""
