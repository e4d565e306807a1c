"""Why we close a WebSocket, and what the client should do then. Documented in docs/protocol.md from this table."""

from enum import IntEnum
from typing import NamedTuple


class Close(IntEnum):
    """Close codes; 4000 and up are ours."""

    MESSAGE_TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    AUTH_TIMEOUT = 4407
    SLOW = 4408
    SILENT = 4410
    RATE = 4429


class Closing(Exception):  # noqa: N818 - a way out of a conversation, not an error
    """The socket shall be closed with a code."""

    def __init__(self, code: Close) -> None:
        super().__init__(code)
        self.code = code


class Meaning(NamedTuple):
    """What a close code says to a client."""

    why: str
    advice: str
    again_after_secs: tuple[int, int] | None
    """Between how many seconds, drawn at random, the client may come back; None: not with the same credential."""


MEANINGS: dict[Close, Meaning] = {
    Close.MESSAGE_TOO_BIG: Meaning("A message over the size limit was sent.", "Send smaller messages.", (1, 10)),
    Close.INTERNAL: Meaning("The server failed.", "Resume.", (1, 10)),
    Close.RESTART: Meaning("The server restarts.", "Resume.", (0, 5)),
    Close.UNAUTHORIZED: Meaning("The credential is wrong, has expired or was revoked.", "Log in or renew first.", None),
    Close.FORBIDDEN: Meaning("The credential may not use this socket.", "Use another credential.", None),
    Close.AUTH_TIMEOUT: Meaning(
        "No credential came in the handshake or in time after it.", "Send `auth` as the first message.", (1, 10)
    ),
    Close.SLOW: Meaning(
        "The watcher took too long to receive a frame or to acknowledge an event.", "Resume; watch less.", (1, 10)
    ),
    Close.SILENT: Meaning("A client that answers heartbeats was silent for two of them.", "Resume.", (0, 5)),
    Close.RATE: Meaning("Too many messages over the rate were sent.", "Send less.", (30, 60)),
}
"""Code to why, what the client does, and when it may come back."""
