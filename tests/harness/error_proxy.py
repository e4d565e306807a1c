"""A proxy before PostgreSQL that answers statements with an error of any SQLSTATE, in the server's stead.

client  --statement up to Sync-->  error_proxy  --ErrorResponse, ReadyForQuery-->  client
"""

import asyncio
import contextlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from .proxy import Proxy, Way

_PASSED_ON = b"pX"  # a password, the end of a connection
_IDLE = b"Z\x00\x00\x00\x05I"  # ReadyForQuery


class ErrorProxy(Proxy):
    """Logins pass; while an error is set, no statement reaches the server."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self._sqlstate: str | None = None
        self._containing = b""

    @contextmanager
    def answering(self, sqlstate: str, *, containing: bytes = b"") -> Iterator[None]:
        """Answers every statement, or those with a part that are prepared now, with an error until the block ends."""
        self._containing, self._sqlstate = containing, sqlstate
        try:
            yield
        finally:
            self._sqlstate = None

    async def _carry(self, link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if way == "down":
            await super()._carry(link, way, reader, writer)
            return
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readexactly(4)
            writer.write(head + await reader.readexactly(_length(head) - 4))
            sqlstate, begun, told = None, False, False
            while True:
                kind, head = await reader.readexactly(1), await reader.readexactly(4)
                body = await reader.readexactly(_length(head) - 4)
                if not begun:
                    # A statement is answered as a whole: what began before the error was set passes on up to its Sync.
                    sqlstate, told = self._sqlstate if self._containing in body else None, False
                begun = kind not in b"SQpX"
                if sqlstate is None or kind in _PASSED_ON:
                    writer.write(kind + head + body)
                    await writer.drain()
                    continue
                if kind in b"HSQ" and not told:
                    link.near.write(_error(sqlstate))
                    told = True
                if kind in b"SQ":
                    link.near.write(_IDLE)
        writer.close()


def _length(head: bytes) -> int:
    return int(struct.unpack(">I", head)[0])


def _error(sqlstate: str) -> bytes:
    fields = f"SERROR\0VERROR\0C{sqlstate}\0Mthrown by a test\0\0".encode()
    return b"E" + struct.pack(">I", 4 + len(fields)) + fields
