"""A client that says what it got: status, headers, members. It hides nothing and repairs nothing."""

import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

LOCATION = "/api/driver/location"
QUICK_SECS = 15.0


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code; checks on the way that it is a problem as RFC 9457 has it."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.body[:200])
        problem = self.json
        assert problem["status"] == self.status
        assert {"title", "status", "code", "detail"} <= problem.keys()
        assert all(isinstance(problem[name], str) and problem[name] for name in ("title", "code", "detail"))
        return str(problem["code"])

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code of a problem."""
        return self.status, self.code

    @property
    def receipt(self) -> tuple[int, int, dict[int, str]]:
        """Stored, duplicate, and the codes of the rejected by their index."""
        assert self.status == 200, self.body[:500]
        assert self.headers["content-type"] == "application/json"
        return read_receipt(self.json)


def read_receipt(members: Mapping[str, Any]) -> tuple[int, int, dict[int, str]]:
    """Stored, duplicate, rejected of a receipt or of a socket's frame."""
    assert {"stored", "duplicate", "rejected"} <= members.keys(), members
    for reject in members["rejected"]:
        assert reject.keys() == {"index", "code", "detail"}
        assert reject["detail"].endswith((".", "?")), reject
    rejected = {reject["index"]: reject["code"] for reject in members["rejected"]}
    assert len(rejected) == len(members["rejected"])
    return members["stored"], members["duplicate"], rejected


class Client:
    """Speaks to one server with one credential at a time."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, one answer."""
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        # Bytes of megabytes are written at once, which the library warns of.
        data = body if body is None or len(body) < 1 << 20 else io.BytesIO(body)
        async with self._session.request(
            method,
            self.url + path,
            data=data,
            headers={**sent, **(headers or {})},
            params=params,
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, *, token: str | None = None, **params: str) -> Answer:
        """GET."""
        return await self.request("GET", path, token=token, params=params)

    async def until(self, path: str, status: int, *, within_secs: float) -> None:
        """Asks until the answer has that status; having no answer is none of them."""
        async with asyncio.timeout(within_secs):
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    if (await self.get(path)).status == status:
                        return
                await asyncio.sleep(0.1)

    async def send(self, batch: Any, *, token: str | None, headers: Mapping[str, str] | None = None) -> Answer:
        """Posts a batch; what is not bytes yet is sent as JSON."""
        body = batch if isinstance(batch, bytes) else json.dumps(batch).encode()
        return await self.request(
            "POST", LOCATION, token=token, body=body, headers={"Content-Type": "application/json", **(headers or {})}
        )

    async def login(self, tenant: str, user: str, password: str) -> Answer:
        """Logs in with a password."""
        form = json.dumps({"tenant": tenant, "user": user, "password": password}).encode()
        return await self.request("POST", "/api/login", body=form, headers={"Content-Type": "application/json"})

    @asynccontextmanager
    async def socket(
        self, path: str, *, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["Socket"]:
        """An open WebSocket."""
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self._session.ws_connect(
            self.url + path, headers={**sent, **(headers or {})}, max_msg_size=0, autoclose=True
        ) as socket:
            yield Socket(socket)

    async def handshake(
        self, path: str, *, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a WebSocket handshake that is refused, problem document and all."""
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        return await self.request("GET", path, token=token, headers={**upgrade, **(headers or {})})


class Socket:
    """The client's end of a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = socket

    async def send(self, message: Any) -> None:
        """Sends a text message; what is not text yet as JSON."""
        await self.raw.send_str(message if isinstance(message, str) else json.dumps(message))

    async def receive(self, *, within_secs: float = QUICK_SECS) -> Any:
        """The next message, which must be JSON text."""
        message = await self.raw.receive(timeout=within_secs)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self.raw.close_code)
        return json.loads(message.data)

    async def receive_type(self, kind: str, *, within_secs: float = QUICK_SECS) -> Any:
        """The next message, signs of life apart, which must be of that type."""
        while (message := await self.receive(within_secs=within_secs))["type"] == "heartbeat" != kind:
            pass
        assert message["type"] == kind, message
        return message

    async def silent(self, *, for_secs: float) -> None:
        """Nothing comes for so long."""
        started = time.monotonic()
        try:
            message = await self.raw.receive(timeout=for_secs)
        except TimeoutError:
            assert time.monotonic() - started >= for_secs * 0.9
        else:
            raise AssertionError(f"expected silence, got {message}")

    async def closed(self, *, within_secs: float = QUICK_SECS) -> int | None:
        """Reads what is left and returns the code of the close frame; None if the connection ended without one."""
        async with asyncio.timeout(within_secs):
            while True:
                message = await self.raw.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    # Not `raw.close_code`: that becomes 1006 when the server is gone before our own close frame.
                    return int(message.data)
                if message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR}:
                    return None
