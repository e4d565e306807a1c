"""Measures cached reads: latency and rate, the cache's map, compression, and authorisation."""
