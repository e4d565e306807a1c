"""Clients that hold a place and give nothing for it: no request, no body, no reading. The server without nginx."""

import asyncio
import contextlib
import re
import socket
import time
from pathlib import Path

import pytest

from harness.client import LOCATION
from harness.fixes import fix
from harness.fixtures import running_server

HEAD_SECS, BODY_SECS, WRITE_SECS = 2.0, 2.0, 2.0
SLACK_SECS = 6.0  # the machine may be busy
CONNECTIONS = 60
USER_STREAMS = 2
SETTINGS = {
    "FLEETWIRE_HEAD_TIMEOUT_SECS": str(HEAD_SECS),
    "FLEETWIRE_BODY_TIMEOUT_SECS": str(BODY_SECS),
    "FLEETWIRE_WRITE_TIMEOUT_SECS": str(WRITE_SECS),
    "FLEETWIRE_MAX_SOCKETS": str(CONNECTIONS),
    "FLEETWIRE_USER_STREAMS": str(USER_STREAMS),
}
FIRST_MILLIS = 1_780_000_000_000
FIXES = 120_000


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(module_database, SETTINGS)


def connect(server, *, receive_bytes=None):
    opened = socket.socket()
    if receive_bytes is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    opened.settimeout(SLACK_SECS)
    opened.connect(("127.0.0.1", server.port))
    return opened


def ended_after_secs(opened):
    """How long the server holds a connection, from now on."""
    started = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while opened.recv(65_536):
            pass
    return time.monotonic() - started


@pytest.mark.parametrize(
    "sent",
    [b"", b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /api/lo", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-"],
    ids=["nothing", "half a preface of HTTP/2", "a preface", "half a line", "half a head"],
)
def test_connection_that_sends_no_request_is_closed(server, sent):
    with connect(server) as opened:
        opened.sendall(sent)
        assert ended_after_secs(opened) < HEAD_SECS + SLACK_SECS


def test_more_silent_connections_than_there_are_places_hold_the_server_for_one_deadline_each(server):
    with contextlib.ExitStack() as stack:
        for _ in range(3 * CONNECTIONS):
            stack.enter_context(connect(server))
        started = time.monotonic()
        with connect(server) as opened:
            opened.settimeout(30)
            opened.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert opened.recv(1000).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - started < 4 * HEAD_SECS + SLACK_SECS


def test_memory_of_heads_that_are_not_whole_is_bounded(server):
    """A connection costs the server's buffer of a head at most, however much is sent."""

    def resident_kib():
        (worker,) = server.workers()
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker}/status").read_text())[1])

    before_kib = resident_kib()
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            opened = stack.enter_context(connect(server))
            with contextlib.suppress(ConnectionError):
                opened.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 120 * 1024)
        time.sleep(0.5)
        grown_kib = resident_kib() - before_kib
    assert grown_kib < CONNECTIONS * 320


async def test_slow_body_is_given_up_on_every_route_that_takes_one(server, client, tenant):
    paths = (await client.get("/openapi.json")).json["paths"]
    routes = [
        (method.upper(), re.sub(r"\{.*?\}", "99999999", path))
        for path, methods in paths.items()
        for method in methods
        if method in {"post", "put", "patch", "delete"}
    ]
    assert len(routes) > 10
    assert ("POST", "/api/login") in routes

    async def trickle(method, path):
        token = tenant.ingest if path == LOCATION else tenant.admin
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        writer.write(head.encode())

        async def feed():
            with contextlib.suppress(ConnectionError):
                while True:
                    await asyncio.sleep(0.2)
                    writer.write(b" ")
                    await writer.drain()

        feeding = asyncio.ensure_future(feed())
        started = time.monotonic()
        try:
            async with asyncio.timeout(BODY_SECS + 2 * SLACK_SECS):
                line = await reader.readline()
            assert time.monotonic() - started < BODY_SECS + SLACK_SECS, (method, path)
            return int(line.split()[1])
        finally:
            feeding.cancel()
            writer.close()

    await asyncio.to_thread(lambda: tenant.admin)
    statuses = {route: await trickle(*route) for route in routes if route[1] != "/api/logout"}
    # The others refuse or answer before they look at a body.
    assert {route for route, status in statuses.items() if status == 408} >= {
        ("POST", "/api/login"),
        ("POST", LOCATION),
        ("POST", "/api/events"),
        ("POST", "/api/users"),
    }, statuses.items()
    assert all(status < 500 for status in statuses.values()), statuses


@pytest.fixture
async def long_track(client, tenant):
    """A track that no buffer of the system holds."""
    for start in range(0, FIXES, 10_000):
        fixes = [fix(FIRST_MILLIS + 1000 * number) for number in range(start, start + 10_000)]
        assert (await client.send({"device": "van", "fixes": fixes}, token=tenant.ingest)).status == 200
    return f"/api/devices/van/track?from={FIRST_MILLIS}&to={FIRST_MILLIS + 1000 * FIXES}"


async def test_unread_downloads_of_a_user_are_few_and_given_up(server, client, tenant, long_track):
    """A third one is refused while two are not read; both are then cut, by the server and by the system."""
    request = (f"GET {long_track} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.dispatcher}\r\n\r\n").encode()
    with contextlib.ExitStack() as stack:
        unread = [stack.enter_context(connect(server, receive_bytes=4096)) for _ in range(USER_STREAMS)]
        for opened in unread:
            opened.sendall(request)
            assert (await asyncio.to_thread(opened.recv, 12)) == b"HTTP/1.1 200"
        refused = await client.get(long_track, token=tenant.dispatcher)
        assert refused.refusal == (429, "streams_limit")
        assert int(refused.headers["retry-after"]) > 0
        viewer = await tenant.issue_async("user", "vera", "viewer")
        assert (await client.get(long_track, token=viewer)).status == 200
        deadline = time.monotonic() + WRITE_SECS + SLACK_SECS
        while (again := await client.get(long_track, token=tenant.dispatcher)).status != 200:
            assert again.code == "streams_limit"
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        assert len(again.json["features"]) > 0
        # The system drops what is left, so that not even the connections stay.
        deadline = time.monotonic() + 2 * WRITE_SECS + 2 * SLACK_SECS
        while any(_is_open(opened) for opened in unread):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


def _is_open(opened):
    """Whether the server's side of a connection is there still, without reading anything."""
    local = f":{opened.getsockname()[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(fields[2].endswith(local) and fields[3] == "01" for fields in lines)


def test_who_reads_slowly_but_reads_gets_the_whole_answer(server, tenant, long_track):
    """The deadline is for a piece, and not for the answer: this one takes longer than that."""
    with connect(server, receive_bytes=65_536) as opened:
        started = time.monotonic()
        head = f"GET {long_track} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.dispatcher}\r\n\r\n"
        opened.sendall(head.encode())
        read_bytes, end = 0, b""
        while not end.endswith(b"\r\n0\r\n\r\n"):
            piece = opened.recv(65_536)
            assert piece, end
            read_bytes, end = read_bytes + len(piece), (end + piece)[-16:]
            time.sleep(0.04)
        assert read_bytes > 3_000_000
        assert time.monotonic() - started > 1.5 * WRITE_SECS
