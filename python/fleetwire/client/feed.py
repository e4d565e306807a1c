"""Following a feed: what a filter shows, kept up to date over any number of broken connections.

    connect -> watch, or resume -> snapshot, moved, moved ... -> broken -> wait (exponential, jittered) -> connect

A frame may come in several messages. Positions are taken over as they come, but only the last message of a frame moves
the place from which a resume begins: whatever of a frame was lost comes again.
"""

import asyncio
import random
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

import aiohttp
import orjson

from fleetwire.client.batches import authorization, endpoint, wait_secs
from fleetwire.client.frames import read_frame, spread_rows
from fleetwire.errors import Problem
from fleetwire.fanout.close_codes import Close

DISPATCH_PATH: Final = "/ws/dispatch"
SILENCE_SECS: Final = 75.0  # a server says every 30 seconds that it lives; two may be missed
OPEN_SECS: Final = 15.0
REFUSED: Final = frozenset({401, 403})

Position = dict[str, Any]
"""`device`, `timestamp`, `latitude`, `longitude` and what else the sender gave, with the names and units of a fix."""


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """What to watch: devices that satisfy every member that is given; everything if none is."""

    area: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; west of the antimeridian to east of it, if west is the greater one."""
    devices: tuple[str, ...] | None = None
    status: tuple[Literal["moving", "stopped", "offline"], ...] | None = None
    orders: tuple[str, ...] | None = None

    def members(self) -> dict[str, Any]:
        """What `watch` and `resume` carry."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Update(NamedTuple):
    """What one message of the server changed."""

    type: str
    """`snapshot`, `moved`, `resync`, `heartbeat`, `event` or a type of the future."""
    message: dict[str, Any]
    is_complete: bool
    """Whether the frame ends with it: `positions` is then what the filter showed at one moment."""


class Feed:
    """One watcher. An async context manager, and an iterator over what the server says; reading it connects."""

    def __init__(
        self,
        url: str,
        token: str,
        wanted: FeedFilter | None = None,
        *,
        form: Literal["json", "rows", "protobuf"] = "rows",
        rng: random.Random | None = None,
    ) -> None:
        self._url = endpoint(url, DISPATCH_PATH, socket=True)
        self._headers = authorization(token)
        self._wanted = wanted or FeedFilter()
        # A server that does not know the form says it plainly.
        self._protocols = tuple(dict.fromkeys((f"fleetwire.v1.{form}", "fleetwire.v1.json")))
        self._rng = rng or random.Random()  # noqa: S311 - it spreads retries
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._place: tuple[str, int] | None = None
        self._names: dict[int, str] = {}
        self._is_within = False
        """Whether a snapshot has begun and not ended."""
        self._is_resuming = False
        self._attempt = 0
        self.positions: dict[str, Position] = {}
        """What is watched, by name of device."""
        self.messages = 0
        self.connections = 0
        self.resumed = 0
        """Times that a connection went on where the one before it broke."""

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

    async def __anext__(self) -> Update:
        """The next message, applied to `positions`.

        Raises:
            Problem: the credential is refused, or the server does not take the filter.
        """
        while True:
            socket = self._socket or await self._connected()
            try:
                message = await socket.receive(timeout=SILENCE_SECS)
            except TimeoutError:
                await self.reconnect()
                continue
            if message.type is aiohttp.WSMsgType.TEXT:
                told = orjson.loads(message.data)
                spread_rows(told)
            elif message.type is aiohttp.WSMsgType.BINARY:
                told = read_frame(message.data, self._names)
            else:
                self._socket = None
                if socket.close_code == Close.UNAUTHORIZED:
                    raise Problem("token_invalid", "The server does not accept the credential any more.", status=401)
                continue
            self.messages += 1
            self._attempt = 0
            return self._taken(told)

    async def watch(self, wanted: FeedFilter) -> None:
        """Watches something else from now on, over the same connection."""
        self._wanted, self._place = wanted, None
        if self._socket is not None:
            await self._ask(self._socket)

    async def reconnect(self) -> None:
        """Lets go of the connection, as when the network has changed; reading opens another one and resumes."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def _connected(self) -> aiohttp.ClientWebSocketResponse:
        if self._session is None:
            raise RuntimeError("The feed is used outside of its context.")
        while True:
            if self._attempt:
                await asyncio.sleep(wait_secs(self._attempt - 1, 0, self._rng))
            self._attempt += 1
            try:
                async with asyncio.timeout(OPEN_SECS):
                    socket = await self._session.ws_connect(
                        self._url, headers=self._headers, protocols=self._protocols, max_msg_size=0
                    )
                self.connections += 1
                self._is_within = False
                await self._ask(socket)
            except aiohttp.WSServerHandshakeError as error:
                if error.status in REFUSED:
                    detail = f"The server refuses the watcher with status {error.status}."
                    raise Problem(f"http_{error.status}", detail, status=error.status) from error
            except (aiohttp.ClientError, OSError, TimeoutError):
                continue
            else:
                self._socket = socket
                return socket

    async def _ask(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        wish: dict[str, Any] = {"type": "watch"}
        self._is_resuming = self._place is not None
        if self._place is not None:
            wish = {"type": "resume", "epoch": self._place[0], "seq": self._place[1]}
        await socket.send_str(orjson.dumps(wish | self._wanted.members()).decode())

    def _taken(self, told: dict[str, Any]) -> Update:
        kind, is_complete = str(told.get("type")), not told.get("more", False)
        if kind == "error":
            raise Problem(str(told.get("code")), str(told.get("detail")), status=int(told.get("status", 400)))
        if kind == "resync":
            # Nothing can be resumed until the snapshot has come that follows.
            self._place, self._is_resuming = None, False
        elif kind == "snapshot":
            if not self._is_within:
                self.positions.clear()
            self._is_within = not is_complete
            self._advance(told)
            if is_complete:
                self._place = told["epoch"], told["seq"]
        elif kind == "moved":
            self._advance(told)
            if is_complete and self._place is not None:
                self._place = self._place[0], told["seq"]
        if self._is_resuming and kind in {"moved", "heartbeat"}:
            self.resumed += 1
            self._is_resuming = False
        return Update(kind, told, is_complete)

    def _advance(self, told: dict[str, Any]) -> None:
        for position in told["positions"]:
            self.positions[position["device"]] = position
        for device in told.get("left", ()):
            self.positions.pop(device, None)
