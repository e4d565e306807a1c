"""Why we close a WebSocket, and what the client should do then. Documented in docs/protocol.md from this table."""

from enum import IntEnum


class Close(IntEnum):
    """Close codes; 4000 and up are ours."""

    MESSAGE_TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    UNAUTHORIZED = 4401
    SLOW = 4408


MEANINGS: dict[Close, tuple[str, str]] = {
    Close.MESSAGE_TOO_BIG: ("A message over the size limit was sent.", "Reconnect; send smaller messages."),
    Close.INTERNAL: ("The server failed.", "Reconnect after 1 to 10 seconds, with jitter."),
    Close.RESTART: ("The server restarts.", "Reconnect after 0 to 5 seconds, with jitter; resume."),
    Close.UNAUTHORIZED: ("The credential expired or was revoked.", "Log in again, then reconnect."),
    Close.SLOW: ("The watcher took too long to receive a frame.", "Reconnect after 1 to 10 seconds; watch less."),
}
"""Code to (why, what the client does)."""
