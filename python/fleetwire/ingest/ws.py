"""`/ws`: a driver's socket. Batches go up, receipts come down, each named by the sender's `id`; events go both ways.

Several batches of one socket may be under way; their receipts come in the order of the commits. When
`socket_inflight_batches` are, the socket is not read until one is answered, so that a fast sender waits in its own
TCP connection and not in our memory.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from fleetwire.errors import Problem
from fleetwire.fanout.events.event_hub import EventHub
from fleetwire.fanout.events.event_messages import Failure
from fleetwire.fanout.events.event_session import EventSession
from fleetwire.fanout.sockets.sockets import Closing, Socket, SocketMessage, Sockets
from fleetwire.ingest.decode import Body
from fleetwire.ingest.limit import IngestLimit
from fleetwire.ingest.pipeline import Pipeline
from fleetwire.runtime import asgi
from fleetwire.runtime.client_data import Undecodable, decode
from fleetwire.runtime.tasks import spawn
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

PATH = "/ws"
FINISH_SECS = 5.0  # batches under way have this long to be answered when the socket is told to go

_log = structlog.get_logger(__name__)


class _Named(msgspec.Struct):
    """What an error answer needs of a message that could not be used."""

    id: str | int | None = None


_NAMED_TEXT: Final[msgspec.json.Decoder[_Named]] = msgspec.json.Decoder(_Named)
_NAMED_BINARY: Final[msgspec.msgpack.Decoder[_Named]] = msgspec.msgpack.Decoder(_Named)


class DriverSocket:
    """The route as an ASGI callable in front of the framework."""

    def __init__(
        self, *, pipeline: Pipeline, limit: IngestLimit, events: EventHub, sockets: Sockets, settings: Settings
    ) -> None:
        self._pipeline = pipeline
        self._limit = limit
        self._events = events
        self._sockets = sockets
        self._settings = settings

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serves one driver from handshake to close."""
        await self._sockets.serve("driver", "ingest", self._converse, (scope, receive, send))

    async def _converse(self, socket: Socket) -> None:
        answers: set[asyncio.Task[None]] = set()
        talk = EventSession(self._events, socket, self._limit.limits, self._settings)
        talk.start()
        try:
            while True:
                if len(answers) >= self._settings.socket_inflight_batches:
                    await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
                message = await socket.receive()
                if await talk.takes(message):
                    continue
                answer = spawn(self._answer(socket, message), name="socket-batch")
                answers.add(answer)
                answer.add_done_callback(answers.discard)
                # Most sockets wait for most of the time: the last batch is not to wait with them.
                del message, answer
        finally:
            await talk.stop()
            if answers:
                await asyncio.wait(answers, timeout=FINISH_SECS)

    async def _answer(self, socket: Socket, message: SocketMessage) -> None:
        try:
            self._limit.request(socket.principal)
            body = Body(message.data) if message.is_text else Body(message.data, "application/msgpack")
            frame = _receipt_frame((await self._pipeline.take(socket.principal, body, door=metrics.SOCKET)).json)
        except Problem as problem:
            frame = _error_frame(message, problem)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and answered
            _log.exception("A batch failed.", path=PATH)
            fault = Problem("internal", "The server failed; nothing is acknowledged, send it again.", status=500)
            frame = _error_frame(message, fault)
        try:
            await socket.send(frame)
        except Closing as closing:
            socket.dismiss(closing.code)


def _receipt_frame(receipt: bytes) -> bytes:
    """The receipt with its type; the core gives it one only where the batch had an id."""
    return receipt if receipt.startswith(b'{"type"') else b'{"type":"receipt",' + receipt[1:]


def _error_frame(message: SocketMessage, problem: Problem) -> bytes:
    try:
        message_id = decode(_NAMED_TEXT if message.is_text else _NAMED_BINARY, message.data).id
    except Undecodable:
        message_id = None  # The message is too broken to have a name.
    return msgspec.json.encode(Failure.of(problem, None if message_id is None else str(message_id)))
