"""Publishes events and receives them in order, each once, over reconnects.

publish():    POST with a client_id, retried until answered; the server stores the event once
EventStream:  connect, join after the last sequence number -> events, each acknowledged when the next one is requested
              connection lost -> delay as its close code says, connect, join after the last sequence number
"""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import orjson

from fleetwire.client.batches import (
    REQUEST_TIMEOUT_SECS,
    authorization,
    endpoint,
    is_temporary,
    parse_problem,
    retry_delay_secs,
)
from fleetwire.client.feed import IDLE_TIMEOUT_SECS
from fleetwire.errors import Problem
from fleetwire.fanout.sockets.close_codes import MEANINGS, Close
from fleetwire.runtime.clock import monotonic_secs

EVENTS_PATH = "/api/events"


class ReceivedEvent(NamedTuple):
    """One event of a room."""

    seq: int
    room: str
    kind: str
    payload: dict[str, Any]
    actor: str
    occurred_millis: int


class EventStream:
    """Yields the events of some rooms in order, each once, and reconnects as needed; an async context manager.

    `after` is the sequence number of the last event handled. Pass it to a later stream to resume there.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        path: str = "/ws/dispatch",
        rooms: Sequence[str] = ("dispatch",),
        after: int | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._url = endpoint(url, path, socket=True)
        self._headers = authorization(token)
        self._rooms = list(rooms)
        self._rng = rng or random.Random()  # noqa: S311 - jitter of reconnects
        self._session: aiohttp.ClientSession | None = None
        self.after = after
        self.connections = 0
        self.gaps = 0
        """Number of joins at which the server no longer had the events after `after`: reload the affected state."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def __aiter__(self) -> AsyncIterator[ReceivedEvent]:
        """Yields events until the caller stops.

        Raises:
            Problem: the credential is refused, or has no access to these rooms.
        """
        attempt = 0
        while True:
            after_at_start = self.after
            delay_secs = None
            try:
                async for event in self._connection():
                    attempt = 0
                    yield event
            except _ConnectionClosed as closed:
                delay_secs = closed.reconnect_delay_secs(self._rng)
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            except Problem as problem:
                if not is_temporary(problem):
                    raise
                delay_secs = retry_delay_secs(attempt, problem.retry_after_secs or 0, self._rng)
            attempt = 0 if self.after != after_at_start else attempt + 1
            await asyncio.sleep(retry_delay_secs(attempt, 0, self._rng) if delay_secs is None else delay_secs)

    async def _connection(self) -> AsyncIterator[ReceivedEvent]:
        if self._session is None:
            raise RuntimeError("The stream is used outside of its context.")
        try:
            opening = await self._session.ws_connect(self._url, headers=self._headers, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            retry_after = error.headers.get("Retry-After") if error.headers else None
            raise parse_problem(error.status, b"", retry_after) from error
        async with opening as socket:
            join = {"type": "events", "rooms": self._rooms} | ({} if self.after is None else {"after": self.after})
            await _send(socket, join)
            async for event in self._events(socket):
                yield event

    async def _events(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[ReceivedEvent]:
        is_joined = False
        while True:
            message = await socket.receive(timeout=IDLE_TIMEOUT_SECS)
            if message.type is aiohttp.WSMsgType.TEXT:
                frame = orjson.loads(message.data)
                is_joined = is_joined or frame["type"] == "joined"
                if frame["type"] == "event":
                    if not is_joined:
                        continue  # From the default rooms, before the join: earlier events follow after it.
                    if self.after is None or frame["seq"] > self.after:
                        yield _parse_event(frame)
                        self.after = frame["seq"]
                    await _send(socket, {"type": "ack", "seq": frame["seq"]})
                else:
                    await self._handle_control(socket, frame)
            elif message.type is not aiohttp.WSMsgType.BINARY:
                raise _ConnectionClosed(socket.close_code)

    async def _handle_control(self, socket: aiohttp.ClientWebSocketResponse, frame: dict[str, Any]) -> None:
        """Handles a message that is no event: joined, heartbeat, error."""
        if frame["type"] == "joined":
            self.connections += 1
            self.gaps += bool(frame["gap"])
            self.after = frame["after"]
        elif frame["type"] == "heartbeat":
            await _send(socket, {"type": "heartbeat"})
        elif frame["type"] == "error":
            raise Problem(frame["code"], frame["detail"], status=frame["status"])


class _ConnectionClosed(Exception):  # noqa: N818 - ends a connection, not an error
    """The server closed the socket, or it broke (1006)."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self._code = code

    def reconnect_delay_secs(self, rng: random.Random) -> float | None:
        """Returns a random delay within the range of the close code; None if the code has no range.

        Raises:
            Problem: the code forbids reconnecting with the same credential.
        """
        if self._code not in {code.value for code in Close}:
            return None
        meaning = MEANINGS[Close(self._code)]
        if meaning.again_after_secs is None:
            raise Problem(Close(self._code).name.lower(), meaning.why, status=401)
        return rng.uniform(*meaning.again_after_secs)


async def publish(
    session: aiohttp.ClientSession,
    url: str,
    token: str,
    *,
    room: str,
    kind: str,
    payload: dict[str, Any],
    client_id: str | None = None,
    retry_timeout_secs: float = 30.0,
) -> int:
    """Publishes an event and returns its sequence number; retries temporary failures without storing it twice.

    Raises:
        Problem: the server refuses it, or gave no answer within `retry_timeout_secs`.
    """
    form = {"room": room, "kind": kind, "payload": payload, "client_id": client_id or uuid.uuid4().hex}
    body, headers = orjson.dumps(form), {"Content-Type": "application/json"} | authorization(token)
    deadline_secs, attempt, rng = monotonic_secs() + retry_timeout_secs, 0, random.Random()  # noqa: S311 - jitter
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECS)
    while True:
        try:
            async with session.post(
                endpoint(url, EVENTS_PATH), data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                answer = await response.read()
            if response.status in {200, 201}:
                return int(orjson.loads(answer)["seq"])
            problem = parse_problem(response.status, answer, response.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            problem = Problem("no_answer", str(error) or type(error).__name__, status=503)
        if not is_temporary(problem) or monotonic_secs() >= deadline_secs:
            raise problem
        await asyncio.sleep(retry_delay_secs(attempt, problem.retry_after_secs or 0, rng))
        attempt += 1


def _parse_event(frame: dict[str, Any]) -> ReceivedEvent:
    return ReceivedEvent(
        frame["seq"], frame["room"], frame["kind"], frame["payload"], frame["actor"], int(frame["occurred_at"])
    )


async def _send(socket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
    await socket.send_str(orjson.dumps(message).decode())
