"""Sends the batches of a device, over HTTP or over the driver socket.

A transport sends one batch and returns its receipt, or raises a `Problem`. After a temporary one
(`client.is_temporary`) the batch may or may not be stored, and the device sends it again.
"""

import asyncio
from typing import Protocol

import aiohttp
import orjson

from fleetwire.client import BatchClient, BatchReceipt, authorization, endpoint, parse_receipt
from fleetwire.errors import Problem
from fleetwire.simulate.outbox import PendingBatch

SOCKET_PATH = "/ws"
RECEIPT_TIMEOUT_SECS = 15.0  # phones close a socket that has sent no receipt for this long
CLOSE_TIMEOUT_SECS = 1.0


class Transport(Protocol):
    """Sends the batches of one device."""

    async def send(self, batch: PendingBatch) -> BatchReceipt:
        """Sends one batch and waits for its receipt.

        Raises:
            Problem: it was refused, or there was no answer.
        """

    async def close(self) -> None:
        """Closes the connection if there is one; the next batch opens another."""


class HttpTransport:
    """Posts batches over a connection pool that all devices of the fleet share."""

    def __init__(self, client: BatchClient, *, device: str) -> None:
        self._client = client
        self._device = device

    async def send(self, batch: PendingBatch) -> BatchReceipt:
        """Posts one batch, without retries."""
        body = orjson.dumps({"device": self._device, "fixes": batch.fixes})
        return (await self._client.post(body, retry_timeout_secs=0)).receipt

    async def close(self) -> None:
        """No-op: the connections belong to the fleet."""


class SocketTransport:
    """Sends batches over a WebSocket of the device, opened when the first batch is sent."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, token: str, device: str) -> None:
        self._session = session
        self._url = endpoint(url, SOCKET_PATH, socket=True)
        self._headers = authorization(token)
        self._device = device
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self.connections = 0

    async def send(self, batch: PendingBatch) -> BatchReceipt:
        """Sends one batch, without retries; an error of the socket closes it."""
        message_id = str(batch.number)
        message = {"type": "batch", "id": message_id, "device": self._device, "fixes": batch.fixes}
        try:
            async with asyncio.timeout(RECEIPT_TIMEOUT_SECS):
                socket = await self._open()
                await socket.send_str(orjson.dumps(message).decode())
                return await self._receive_receipt(socket, message_id)
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake_problem(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            await self.close()
            detail = f"No receipt from {self._url}: {str(error) or type(error).__name__}"
            raise Problem("no_answer", detail, status=503) from error

    async def close(self) -> None:
        """Closes the socket; waits at most CLOSE_TIMEOUT_SECS for the closing handshake."""
        socket, self._socket = self._socket, None
        if socket is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_SECS):
                    await socket.close()
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass  # The connection is lost either way.

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None or self._socket.closed:
            self._socket = await self._session.ws_connect(self._url, headers=self._headers)
            self.connections += 1
        return self._socket

    async def _receive_receipt(self, socket: aiohttp.ClientWebSocketResponse, message_id: str) -> BatchReceipt:
        while True:
            frame = await socket.receive()
            if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                raise aiohttp.ClientConnectionError(f"the socket was closed ({socket.close_code})")
            try:
                message = orjson.loads(frame.data)
            except orjson.JSONDecodeError as error:
                raise aiohttp.ClientConnectionError("the server sent what is not JSON") from error
            # The socket also carries assignments, messages and the receipt of an attempt that timed out.
            if not isinstance(message, dict) or message.get("id") != message_id:
                continue
            if message.get("type") == "receipt":
                return parse_receipt(message)
            if message.get("type") == "error":
                raise _problem_of(message)


def _problem_of(message: dict[str, object]) -> Problem:
    status, retry_after = message.get("status"), message.get("retry_after_secs")
    return Problem(
        str(message.get("code", "unknown")),
        str(message.get("detail", "The server refused the batch.")),
        # Without a status the fault may not be the batch's: 503 makes the device send it again.
        status=status if isinstance(status, int) else 503,
        retry_after_secs=retry_after if isinstance(retry_after, int) else None,
    )


def _handshake_problem(error: aiohttp.WSServerHandshakeError) -> Problem:
    """Maps a refused handshake: 401 is final; 403 is temporary, as servers answer an aborted handshake with it."""
    if error.status == 401:  # noqa: PLR2004 - unauthorized
        return Problem("token_invalid", "The server refuses the token of the socket.", status=401)
    return Problem("socket_refused", f"The server refused the socket with status {error.status}.", status=503)
