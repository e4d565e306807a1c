"""HEAD: what GET would answer, without the body (RFC 9110, 9.3.2). Monitors and download tools ask so."""

import asyncio

from fleetwire.runtime import asgi

NOTICE_SECS = 1.0  # longer than a stream takes to see that its client went, if it looks at all


class HeadOnly:
    """Between the server and an application that is asked for GET: lets the head of its answer through."""

    def __init__(self, receive: asgi.Receive, send: asgi.Send) -> None:
        self._receive = receive
        self._send = send
        self._is_asked = False
        self._is_told = asyncio.Event()

    async def receive(self) -> asgi.AsgiMessage:
        """The request; then a client that goes once it has the head, so that a stream ends there."""
        if self._is_asked:
            await self._is_told.wait()
            return {"type": "http.disconnect"}
        self._is_asked = True
        return await self._receive()

    async def send(self, message: asgi.AsgiMessage) -> None:
        """Hands on the head, and one empty body in place of whatever follows."""
        if message["type"] == "http.response.start":
            await self._send(message)
        elif not self._is_told.is_set():
            self._is_told.set()
            await self._send({"type": "http.response.body", "body": b""})
            if message.get("more_body", False):
                # Here, between two pieces, the stream is cancelled, and not in the middle of a transaction.
                await asyncio.sleep(NOTICE_SECS)
