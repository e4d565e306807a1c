"""Signs of life. The server sends no WebSocket pings, so both sides say `{"type":"heartbeat"}`.

A socket from which nothing was heard for a heartbeat's time is sent one. A client that has ever sent one itself is held
to answering: silent for two heartbeats, it is closed. From clients that never have, nothing can be expected; when their
connection is dead, sending to them fails in time, or the system's own time limits for TCP end it.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from fleetwire.fanout.events.event_messages import Heartbeat, Typed
from fleetwire.fanout.sockets.close_codes import Close, Closing
from fleetwire.runtime import clock
from fleetwire.runtime.client_data import Undecodable, decode
from fleetwire.runtime.tasks import spawn
from fleetwire.telemetry import metrics

HEARTBEAT: Final = msgspec.json.encode(Heartbeat())
LOOKS_PER_BEAT: Final = 10
_LONGEST_BYTES: Final = 64  # a heartbeat with spaces and a member more; nothing longer is decoded to find out

_TYPED: Final = msgspec.json.Decoder(Typed)


class Peer(Protocol):
    """What is needed of a socket."""

    heard_secs: float
    asked_secs: float
    answers: bool

    @property
    def kind(self) -> str:
        """Whose it is."""

    async def send(self, frame: bytes) -> None:
        """Sends a text frame."""

    def dismiss(self, code: Close) -> None:
        """Ends the conversation."""


def is_heartbeat(message: bytes) -> bool:
    """Whether a message is a client's heartbeat."""
    if len(message) > _LONGEST_BYTES or b"heartbeat" not in message:
        return False
    try:
        return decode(_TYPED, message).type == "heartbeat"
    except Undecodable:
        return False


async def beat_next(sockets: Callable[[], Iterable[Peer]], heartbeat_secs: float) -> None:
    """Looks at every socket after a part of a heartbeat; one task for all of them."""
    await asyncio.sleep(heartbeat_secs / LOOKS_PER_BEAT)
    now_secs = clock.monotonic_secs()
    for socket in sockets():
        if socket.answers and now_secs - socket.heard_secs >= 2 * heartbeat_secs:
            socket.dismiss(Close.SILENT)
        elif _is_due(socket, now_secs, heartbeat_secs):
            socket.asked_secs = now_secs
            _ = spawn(_send(socket), name="socket-heartbeat")


def _is_due(socket: Peer, now_secs: float, heartbeat_secs: float) -> bool:
    """A feed says by itself when it is silent; beyond that only those are asked who answer."""
    if socket.kind == "dispatch" and not socket.answers:
        return False
    return now_secs - max(socket.heard_secs, socket.asked_secs) >= heartbeat_secs


async def _send(socket: Peer) -> None:
    try:
        await socket.send(HEARTBEAT)
    except Closing as closing:
        socket.dismiss(closing.code)
    else:
        metrics.FRAMES.labels("heartbeat").inc()
        metrics.FRAME_BYTES.labels("heartbeat").inc(len(HEARTBEAT))
