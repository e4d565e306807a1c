"""Micro-benchmarks of the core beside what Python would do: `python -m bench.micro`."""
