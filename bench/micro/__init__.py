"""Micro-benchmarks of the core and of the same work in Python: `python -m bench.micro`."""
