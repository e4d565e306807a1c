"""Locust users: drivers over HTTP and WebSocket, dispatchers that watch and read, visitors of the console."""
