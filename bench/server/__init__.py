"""Starts the servers under test and reads their processor time and memory.

start      `start_server()`: PostgreSQL, one worker per node, tokens     processes  child processes and free ports
rival      `start_rival()`: the FastAPI service that is compared         proc       the reader of /proc
valkey     `start_valkey()`                                              serve      `fleetwire serve` with another app
empty_app, cached_app, moving_app   applications with routes or movements for the measurements
"""
