"""Two HTTP clients: one saturates a server at low cost, one times the requests of many users."""

import asyncio
import selectors
import socket
import time

CONNECTIONS = 16
DEPTH = 8  # requests in flight per connection: the client must cost less than the server
READ_BYTES = 1 << 20
_STATUS = b"HTTP/1.1 200"


def request_bytes(path: str, token: str) -> bytes:
    """Encodes a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def requests_per_sec(port: int, request: bytes, *, secs: float) -> float:
    """Saturates the server and returns answers per second; each connection sends its next requests upon the answers.

    Raises:
        RuntimeError: an answer is not 200.
    """
    selector = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request * DEPTH)
        selector.register(connection, selectors.EVENT_READ, [DEPTH, b""])
    answered, started = 0, time.perf_counter()
    try:
        while time.perf_counter() - started < secs:
            for key, _ in selector.select(1.0):
                answered += _read_answers(key, request)
        return answered / (time.perf_counter() - started)
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr] # a socket, as registered
        selector.close()


def _read_answers(key: selectors.SelectorKey, request: bytes) -> int:
    """Reads and counts answers; sends the next requests when all have arrived."""
    connection: socket.socket = key.fileobj  # type: ignore[assignment]
    data = connection.recv(READ_BYTES)
    if not data:
        raise RuntimeError("the server closed a connection")
    # A status line may be split between two reads.
    seen = key.data[1] + data
    begun = seen.count(_STATUS)
    if seen.count(b"HTTP/1.1 ") != begun:
        raise RuntimeError(f"not every answer is a success: {seen[:200]!r}")
    key.data[1] = seen[-len(_STATUS) + 1 :]
    key.data[0] -= begun
    if key.data[0] == 0:
        connection.sendall(request * DEPTH)
        key.data[0] = DEPTH
    return begun


class Users:
    """Sends the requests of many users on keep-alive connections."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def connect(self, count: int) -> None:
        """Opens the connections in groups of 100, because the accept queue is bounded."""
        for begin in range(0, count, 100):
            opened = [asyncio.open_connection("127.0.0.1", self._port) for _ in range(begin, min(begin + 100, count))]
            connected = await asyncio.gather(*opened)
            self._connections += connected

    async def send_at_once(self, request: bytes) -> None:
        """Sends the same request from every user at the same time."""
        for _, writer in self._connections:
            writer.write(request)
        await asyncio.gather(*(_read_answer(reader) for reader, _ in self._connections))

    async def send_every_second(self, secs: float) -> list[float]:
        """Sends one request per user and second, evenly spread; returns milliseconds from due time to answer."""
        started = time.perf_counter() + 0.5
        step = 1 / len(self._connections)
        users = [
            _user(*connection, self._request, started + number * step, int(secs))
            for number, connection in enumerate(self._connections)
        ]
        return [millis for each in await asyncio.gather(*users) for millis in each]

    def close(self) -> None:
        """Closes the connections."""
        for _, writer in self._connections:
            writer.close()


async def _user(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, first_due: float, count: int
) -> list[float]:
    found = []
    for number in range(count):
        due = first_due + number
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        writer.write(request)
        await _read_answer(reader)
        found.append((time.perf_counter() - due) * 1000)
    return found


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(_STATUS):
        raise RuntimeError(f"not a success: {head[:200]!r}")
    _, _, rest = head.lower().partition(b"content-length: ")
    await reader.readexactly(int(rest.partition(b"\r\n")[0]))
