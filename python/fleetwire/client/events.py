"""Events as a client uses them: publish until it is known to be stored, hear until it is known to be heard.

publish() --client_id, again until answered--> stored once
EventStream: connect, join behind the last number -> events, each acknowledged when the next one is asked for
             connection lost                      -> wait as its close code says, connect, join behind the last number
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
    read_problem,
    wait_secs,
)
from fleetwire.client.feed import SILENCE_SECS
from fleetwire.clock import monotonic_secs
from fleetwire.errors import Problem
from fleetwire.fanout.close_codes import MEANINGS, Close

EVENTS_PATH = "/api/events"


class Heard(NamedTuple):
    """One event."""

    seq: int
    room: str
    kind: str
    payload: dict[str, Any]
    actor: str
    occurred_millis: int


class EventStream:
    """The events of some rooms, in order, each once, over as many connections as it takes. An async context manager.

    `after` is the number up to which everything was heard: keep it, and a later stream goes on there.
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
        self._rng = rng or random.Random()  # noqa: S311 - it spreads reconnects
        self._session: aiohttp.ClientSession | None = None
        self.after = after
        self.connections = 0
        self.gaps = 0
        """How often the server had forgotten what lies behind `after`: load anew what events tell of."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def __aiter__(self) -> AsyncIterator[Heard]:
        """Hears for ever.

        Raises:
            Problem: the credential is refused, or may not be in these rooms.
        """
        attempt = 0
        while True:
            began_with = self.after
            pause_secs = None
            try:
                async for event in self._connection():
                    attempt = 0
                    yield event
            except _Closed as closed:
                pause_secs = closed.pause_secs(self._rng)
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            except Problem as problem:
                if not is_temporary(problem):
                    raise
                pause_secs = wait_secs(attempt, problem.retry_after_secs or 0, self._rng)
            attempt = 0 if self.after != began_with else attempt + 1
            await asyncio.sleep(wait_secs(attempt, 0, self._rng) if pause_secs is None else pause_secs)

    async def _connection(self) -> AsyncIterator[Heard]:
        if self._session is None:
            raise RuntimeError("The stream is used outside of its context.")
        try:
            opening = await self._session.ws_connect(self._url, headers=self._headers, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            retry_after = error.headers.get("Retry-After") if error.headers else None
            raise read_problem(error.status, b"", retry_after) from error
        async with opening as socket:
            join = {"type": "events", "rooms": self._rooms} | ({} if self.after is None else {"after": self.after})
            await _send(socket, join)
            async for frame in self._frames(socket):
                yield frame

    async def _frames(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Heard]:
        is_joined = False
        while True:
            message = await socket.receive(timeout=SILENCE_SECS)
            if message.type is aiohttp.WSMsgType.TEXT:
                frame = orjson.loads(message.data)
                is_joined = is_joined or frame["type"] == "joined"
                if frame["type"] == "event":
                    if not is_joined:
                        continue  # Of the rooms that a socket has until it asks: what lies before it is still to come.
                    if self.after is None or frame["seq"] > self.after:
                        yield _heard(frame)
                        self.after = frame["seq"]
                    await _send(socket, {"type": "ack", "seq": frame["seq"]})
                else:
                    await self._take(socket, frame)
            elif message.type is not aiohttp.WSMsgType.BINARY:
                raise _Closed(socket.close_code)

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["type"] == "joined":
            self.connections += 1
            self.gaps += bool(frame["gap"])
            self.after = frame["after"]
        elif frame["type"] == "heartbeat":
            await _send(socket, {"type": "heartbeat"})
        elif frame["type"] == "error":
            raise Problem(frame["code"], frame["detail"], status=frame["status"])


class _Closed(Exception):  # noqa: N818 - a way out of a connection, not an error
    """The server closed the socket, or it broke (1006)."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self._code = code

    def pause_secs(self, rng: random.Random) -> float | None:
        """How long to wait, drawn from what the code allows; None where it says nothing.

        Raises:
            Problem: the same credential is of no use any more.
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
    give_up_secs: float = 30.0,
) -> int:
    """Publishes an event and returns its number; tries again for passing reasons, and it is stored once all the same.

    Raises:
        Problem: the server refuses it, or gave no answer for `give_up_secs`.
    """
    form = {"room": room, "kind": kind, "payload": payload, "client_id": client_id or uuid.uuid4().hex}
    body, headers = orjson.dumps(form), {"Content-Type": "application/json"} | authorization(token)
    deadline_secs, attempt, rng = monotonic_secs() + give_up_secs, 0, random.Random()  # noqa: S311 - it spreads retries
    limit = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECS)
    while True:
        try:
            async with session.post(
                endpoint(url, EVENTS_PATH), data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                answer = await response.read()
            if response.status in {200, 201}:
                return int(orjson.loads(answer)["seq"])
            problem = read_problem(response.status, answer, response.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            problem = Problem("no_answer", str(error) or type(error).__name__, status=503)
        if not is_temporary(problem) or monotonic_secs() >= deadline_secs:
            raise problem
        await asyncio.sleep(wait_secs(attempt, problem.retry_after_secs or 0, rng))
        attempt += 1


def _heard(frame: dict[str, Any]) -> Heard:
    return Heard(
        frame["seq"], frame["room"], frame["kind"], frame["payload"], frame["actor"], int(frame["occurred_at"])
    )


async def _send(socket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
    await socket.send_str(orjson.dumps(message).decode())
