"""WebSockets of drivers and dispatchers: admission, limits, heartbeats, close codes."""
