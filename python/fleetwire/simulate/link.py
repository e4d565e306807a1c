"""The two ways a device talks to the server: posts, and the driver's socket.

A link sends one batch and returns its receipt, or raises a `Problem`: passing ones (`client.is_temporary`) leave
it open whether the batch was stored, and the device sends it again.
"""

import asyncio
from typing import Protocol

import aiohttp
import orjson

from fleetwire.client import BatchClient, Receipt, authorization, endpoint, read_receipt
from fleetwire.errors import Problem
from fleetwire.simulate.outbox import Batch

SOCKET_PATH = "/ws"
RECEIPT_SECS = 15.0  # a socket that gives no receipt for so long is taken for dead, as phones do
CLOSE_SECS = 1.0


class Link(Protocol):
    """Carries batches of one device."""

    async def send(self, batch: Batch) -> Receipt:
        """Sends one batch and waits for its receipt.

        Raises:
            Problem: it was refused, or there was no answer.
        """

    async def close(self) -> None:
        """Drops the connection, if there is one; the next batch opens another."""


class PostLink:
    """Posts, over connections that all devices of the fleet share."""

    def __init__(self, client: BatchClient, *, device: str) -> None:
        self._client = client
        self._device = device

    async def send(self, batch: Batch) -> Receipt:
        """One try."""
        body = orjson.dumps({"device": self._device, "fixes": batch.fixes})
        return (await self._client.post(body, give_up_secs=0)).receipt

    async def close(self) -> None:
        """Nothing of its own to close."""


class SocketLink:
    """A socket of the device's own, opened when there is something to send."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, token: str, device: str) -> None:
        self._session = session
        self._url = endpoint(url, SOCKET_PATH, socket=True)
        self._headers = authorization(token)
        self._device = device
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self.connects = 0

    async def send(self, batch: Batch) -> Receipt:
        """One try; any doubt about the socket closes it."""
        message_id = str(batch.number)
        message = {"type": "batch", "id": message_id, "device": self._device, "fixes": batch.fixes}
        try:
            async with asyncio.timeout(RECEIPT_SECS):
                socket = await self._open()
                await socket.send_str(orjson.dumps(message).decode())
                return await self._receipt(socket, message_id)
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake_problem(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            await self.close()
            detail = f"No receipt from {self._url}: {str(error) or type(error).__name__}"
            raise Problem("no_answer", detail, status=503) from error

    async def close(self) -> None:
        """Closes the socket; waits only a moment for the server to agree."""
        socket, self._socket = self._socket, None
        if socket is not None:
            try:
                async with asyncio.timeout(CLOSE_SECS):
                    await socket.close()
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass  # It is gone either way.

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None or self._socket.closed:
            self._socket = await self._session.ws_connect(self._url, headers=self._headers)
            self.connects += 1
        return self._socket

    async def _receipt(self, socket: aiohttp.ClientWebSocketResponse, message_id: str) -> Receipt:
        while True:
            frame = await socket.receive()
            if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                raise aiohttp.ClientConnectionError(f"the socket was closed ({socket.close_code})")
            try:
                message = orjson.loads(frame.data)
            except orjson.JSONDecodeError as error:
                raise aiohttp.ClientConnectionError("the server sent what is not JSON") from error
            # Assignments and messages come down here too, and the receipt of a try that was given up before.
            if not isinstance(message, dict) or message.get("id") != message_id:
                continue
            if message.get("type") == "receipt":
                return read_receipt(message)
            if message.get("type") == "error":
                raise _refusal(message)


def _refusal(message: dict[str, object]) -> Problem:
    status, retry_after = message.get("status"), message.get("retry_after_secs")
    return Problem(
        str(message.get("code", "unknown")),
        str(message.get("detail", "The server refused the batch.")),
        # Without a status nothing says that the batch is at fault: it is kept and sent again.
        status=status if isinstance(status, int) else 503,
        retry_after_secs=retry_after if isinstance(retry_after, int) else None,
    )


def _handshake_problem(error: aiohttp.WSServerHandshakeError) -> Problem:
    """A server that ends a handshake early can only answer 403, whatever its reason: that may pass, a 401 does not."""
    if error.status == 401:  # noqa: PLR2004 - unauthorized
        return Problem("token_invalid", "The server refuses the token of the socket.", status=401)
    return Problem("socket_refused", f"The server refused the socket with status {error.status}.", status=503)
