"""Benchmarks; README.md says how to run and read them."""
