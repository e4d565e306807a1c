"""Watches the live feed: maintains the positions that match a filter, and resumes after lost connections.

    connect -> watch or resume -> snapshot, moved, moved ... -> connection lost -> backoff -> connect

A frame may be split into several messages. Positions are applied as they arrive, but only the last message of a frame
advances the cursor for the next resume: the server sends a partly received frame again.
"""

import asyncio
import random
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

import aiohttp
import orjson

from fleetwire.client.batches import authorization, endpoint, retry_delay_secs
from fleetwire.client.frames import expand_rows, parse_frame
from fleetwire.errors import Problem
from fleetwire.fanout.sockets.close_codes import Close

DISPATCH_PATH: Final = "/ws/dispatch"
IDLE_TIMEOUT_SECS: Final = 75.0  # the server sends a heartbeat every 30 seconds; two may be missed
CONNECT_TIMEOUT_SECS: Final = 15.0
REFUSED: Final = frozenset({401, 403})

FeedPosition: TypeAlias = dict[str, Any]
"""`device`, `timestamp`, `latitude`, `longitude` and the optional members of a fix, with its names and units."""


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Selects devices that match every given member; all devices if none is given."""

    area: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; the area crosses the antimeridian if west is greater than east."""
    devices: tuple[str, ...] | None = None
    status: tuple[Literal["moving", "stopped", "offline"], ...] | None = None
    orders: tuple[str, ...] | None = None

    def members(self) -> dict[str, Any]:
        """Returns the members for a `watch` or `resume` message."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class FeedUpdate(NamedTuple):
    """One message of the server, after it was applied to the positions."""

    type: str
    """`snapshot`, `moved`, `resync`, `heartbeat`, `event`, or a type unknown to this client."""
    message: dict[str, Any]
    is_complete: bool
    """Whether this message ends its frame: `positions` is then consistent."""


class Feed:
    """Watches the feed; an async context manager and an iterator over updates, which connects on the first read."""

    def __init__(
        self,
        url: str,
        token: str,
        feed_filter: FeedFilter | None = None,
        *,
        encoding: Literal["json", "rows", "protobuf"] = "rows",
        rng: random.Random | None = None,
    ) -> None:
        self._url = endpoint(url, DISPATCH_PATH, socket=True)
        self._headers = authorization(token)
        self._filter = feed_filter or FeedFilter()
        # The server chooses plain JSON if it does not know the encoding.
        self._protocols = tuple(dict.fromkeys((f"fleetwire.v1.{encoding}", "fleetwire.v1.json")))
        self._rng = rng or random.Random()  # noqa: S311 - jitter of retries
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._cursor: tuple[str, int] | None = None
        """Epoch and sequence number of the last complete frame."""
        self._names: dict[int, str] = {}
        self._in_snapshot = False
        """Whether a snapshot has started and not ended."""
        self._is_resuming = False
        self._attempt = 0
        self.positions: dict[str, FeedPosition] = {}
        """Current positions by device name."""
        self.messages = 0
        self.connections = 0
        self.resumed = 0
        """Number of reconnects that resumed without a new snapshot."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.reconnect()
        if self._session is not None:
            await self._session.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FeedUpdate:
        """Receives the next message and applies it to `positions`.

        Raises:
            Problem: the server refuses the credential or the filter.
        """
        while True:
            socket = self._socket or await self._connect()
            try:
                message = await socket.receive(timeout=IDLE_TIMEOUT_SECS)
            except TimeoutError:
                await self.reconnect()
                continue
            if message.type is aiohttp.WSMsgType.TEXT:
                frame = orjson.loads(message.data)
                expand_rows(frame)
            elif message.type is aiohttp.WSMsgType.BINARY:
                frame = parse_frame(message.data, self._names)
            else:
                self._socket = None
                if socket.close_code == Close.UNAUTHORIZED:
                    raise Problem("token_invalid", "The server does not accept the credential any more.", status=401)
                continue
            self.messages += 1
            self._attempt = 0
            return self._apply(frame)

    async def watch(self, feed_filter: FeedFilter) -> None:
        """Replaces the filter, over the same connection."""
        self._filter, self._cursor = feed_filter, None
        if self._socket is not None:
            await self._subscribe(self._socket)

    async def reconnect(self) -> None:
        """Closes the connection, for example after a change of network; the next read reconnects and resumes."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        if self._session is None:
            raise RuntimeError("The feed is used outside of its context.")
        while True:
            if self._attempt:
                await asyncio.sleep(retry_delay_secs(self._attempt - 1, 0, self._rng))
            self._attempt += 1
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECS):
                    socket = await self._session.ws_connect(
                        self._url, headers=self._headers, protocols=self._protocols, max_msg_size=0
                    )
                self.connections += 1
                self._in_snapshot = False
                await self._subscribe(socket)
            except aiohttp.WSServerHandshakeError as error:
                if error.status in REFUSED:
                    detail = f"The server refuses the watcher with status {error.status}."
                    raise Problem(f"http_{error.status}", detail, status=error.status) from error
            except (aiohttp.ClientError, OSError, TimeoutError):
                continue
            else:
                self._socket = socket
                return socket

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        request: dict[str, Any] = {"type": "watch"}
        self._is_resuming = self._cursor is not None
        if self._cursor is not None:
            request = {"type": "resume", "epoch": self._cursor[0], "seq": self._cursor[1]}
        await socket.send_str(orjson.dumps(request | self._filter.members()).decode())

    def _apply(self, frame: dict[str, Any]) -> FeedUpdate:
        kind, is_complete = str(frame.get("type")), not frame.get("more", False)
        if kind == "error":
            raise Problem(str(frame.get("code")), str(frame.get("detail")), status=int(frame.get("status", 400)))
        if kind == "resync":
            # The server sends a snapshot next; until it is complete there is nothing to resume from.
            self._cursor, self._is_resuming = None, False
        elif kind == "snapshot":
            if not self._in_snapshot:
                self.positions.clear()
            self._in_snapshot = not is_complete
            self._apply_positions(frame)
            if is_complete:
                self._cursor = frame["epoch"], frame["seq"]
        elif kind == "moved":
            self._apply_positions(frame)
            if is_complete and self._cursor is not None:
                self._cursor = self._cursor[0], frame["seq"]
        if self._is_resuming and kind in {"moved", "heartbeat"}:
            self.resumed += 1
            self._is_resuming = False
        return FeedUpdate(kind, frame, is_complete)

    def _apply_positions(self, frame: dict[str, Any]) -> None:
        for position in frame["positions"]:
            self.positions[position["device"]] = position
        for device in frame.get("left", ()):
            self.positions.pop(device, None)
