"""A network between a server and PostgreSQL that can be cut, go half-open, slow down and heal.

server  --up-->  127.0.0.1, a port of ours  --up-->  PostgreSQL (TCP or Unix socket)
        <-down--                            <-down--
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

Way = Literal["up", "down"]
PIECE_BYTES = 4096
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST instead of FIN


class _Link:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        # A stream that lost bytes one way never delivers any again that way: TCP knows no gaps.
        self.dead: set[Way] = set()

    def reset(self) -> None:
        for writer in (self.near, self.far):
            _reset(writer)


class Proxy:
    """Stands before the server of a DSN, in a thread of its own, so that it works while a test blocks."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._port = 0
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._refuses = False
        self._swallows: frozenset[Way] = frozenset()
        self._delay_secs = 0.0
        self._bytes_per_sec = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def dsn(self) -> str:
        """The address of the same database through the proxy."""
        user = f"{self._target.netloc.rpartition('@')[0]}@" if "@" in self._target.netloc else ""
        return f"postgresql://{user}127.0.0.1:{self._port}{self._target.path}?sslmode=disable"

    @property
    def connections(self) -> int:
        """Those that are open now, the dead ones included."""
        return len(self._links)

    def cut(self) -> None:
        """Resets every connection; new ones are taken."""
        self._do(self._reset_all())

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Resets every connection, and every new one, until the block ends."""
        self._refuses = True
        self.cut()
        try:
            yield
        finally:
            self._refuses = False

    @contextmanager
    def half_open(self, *ways: Way) -> Iterator[None]:
        """Swallows what is sent these ways, ends of connections included, until the block ends.

        Connections that lost bytes stay dead that way afterwards; nobody at their ends is told.
        """
        self._swallows = frozenset(ways)
        try:
            yield
        finally:
            self._swallows = frozenset()

    @contextmanager
    def slow(self, *, delay_secs: float = 0.0, bytes_per_sec: float = 0.0) -> Iterator[None]:
        """Holds each piece back, and lets each connection pass no more than so much each way (0: as it comes)."""
        self._delay_secs, self._bytes_per_sec = delay_secs, bytes_per_sec
        try:
            yield
        finally:
            self._delay_secs, self._bytes_per_sec = 0.0, 0.0

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _close(self) -> None:
        self._server.close()
        while self._links:
            await self._reset_all()
            await asyncio.sleep(0.01)

    async def _reset_all(self) -> None:
        for link in self._links:
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            _reset(writer)
            return
        far_reader, far_writer = await self._connect()
        link = _Link(writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._carry(link, "up", reader, far_writer), self._carry(link, "down", far_reader, writer)
            )
        finally:
            self._links.discard(link)
            link.reset()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        named = {name: values[-1] for name, values in parse_qs(self._target.query).items()}
        host, port = named.get("host", self._target.hostname), named.get("port", self._target.port or 5432)
        if host and host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _carry(self, link: _Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                if self._delay_secs or self._bytes_per_sec:
                    throughput_secs = len(piece) / self._bytes_per_sec if self._bytes_per_sec else 0
                    await asyncio.sleep(self._delay_secs + throughput_secs)
                if way in self._swallows:
                    link.dead.add(way)
                if way not in link.dead:
                    writer.write(piece)
                    await writer.drain()
        if way in self._swallows:
            link.dead.add(way)
        if way not in link.dead:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        if (end := writer.get_extra_info("socket")).family != socket.AF_UNIX:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
