"""What workers tell each other of. Apart from `relay.py`, whose client library takes a second to import."""

from enum import IntEnum


class MessageKind(IntEnum):
    """What a message is about; its number on the wire."""

    HEARTBEAT = 0
    GOODBYE = 1
    MOVED = 2
    EVENT = 3
    INVALIDATE = 4
    REVOKED = 5
    ORDER = 6
