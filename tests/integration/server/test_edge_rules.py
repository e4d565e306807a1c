"""The shipped edge before a node with the shipped settings: rules in every spelling, and headers that pass."""

import asyncio
import contextlib
import json
import socket
import time

import aiohttp
import pytest
import yaml

from harness.client import Client
from harness.fixtures import running_server
from harness.nginx import nginx, trusting
from harness.process import ROOT
from harness.tenants import PASSWORD

SPELLINGS = [
    "{}",
    "{}/",
    "{}//",
    "/{}",
    "//{}",
    "/.{}",
    "{}/.",
    "/x/..{}",
    "{}?x=1",
    "{}/?x=1",
    "{}%2F",
    "%2F{}",
    "{}%2f%2f",
    "{upper}",
    "{coded}",
    "{coded}/",
    "{}%20",
    "{};x",
    "{}%00",
    "{}\\",
]


def spelled(path):
    """A path in the ways in which a client may write it."""
    coded = "/" + "".join(each if each == "/" else f"%{ord(each):02x}" for each in path[1:])
    return [each.replace("{upper}", path.upper()).replace("{coded}", coded).replace("{}", path) for each in SPELLINGS]


@pytest.fixture(scope="module")
def server(module_database):
    environment = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["node-1"]["environment"]
    shipped = {"FLEETWIRE_TLS_PROXY": environment["FLEETWIRE_TLS_PROXY"], "FLEETWIRE_TRUSTED_PROXIES": "127.0.0.1"}
    yield from running_server(module_database, shipped)


@pytest.fixture(scope="module")
def edge(server):
    with nginx(server.port) as running:
        yield running


@pytest.fixture
async def outside(edge):
    """A client of the edge, which takes its certificate."""
    connector = aiohttp.TCPConnector(ssl=trusting())
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Client(edge.url, session)


def exchange(edge, raw, *, port=None):
    """The bytes that answer to the bytes of a request, over TLS unless a port is named."""
    opened = socket.create_connection(("127.0.0.1", port or edge.port), timeout=15)
    if port is None:
        opened = trusting().wrap_socket(opened)
    with opened:
        opened.sendall(raw)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := opened.recv(65_536):
                found += piece
    return found


def ask(edge, path, *, method="GET", headers="", body=b"", host=None):
    host = host or f"127.0.0.1:{edge.port}"
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}"
    head += f"Content-Length: {len(body)}\r\n\r\n" if body else "\r\n"
    answer = exchange(edge, head.encode("latin-1") + body)
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("path", spelled("/metrics"))
def test_metrics_are_out_of_reach_in_every_spelling(edge, tenant, path):
    status, answer = ask(edge, path, headers=f"Authorization: Bearer {tenant.admin}\r\n")
    assert status in {400, 404}, (path, status)
    assert b"fleetwire_" not in answer


def test_logins_are_slowed_in_every_spelling(edge):
    """What a node takes for a login is counted by the edge, however it is written: 11 at once, 30 a minute."""
    passed = limited = 0
    spellings = set()
    started = time.monotonic()
    for number, path in enumerate(spelled("/api/login") * 4):
        form = json.dumps({"tenant": "x", "user": f"user-{number}", "password": "z" * 12}).encode()
        status, _ = ask(edge, path, method="POST", headers="Content-Type: application/json\r\n", body=form)
        assert status in {400, 401, 404, 405, 429}, (path, status)
        if status == 429:
            limited += 1
            spellings.add(path)
        passed += status == 401
    assert passed <= 12 + (time.monotonic() - started) / 2
    assert limited > passed
    assert {"/api/login", "/api/login/", "/api/login//", "//api/login", "/%61%70%69/%6c%6f%67%69%6e/"} <= spellings


async def test_cookies_through_the_edge_are_secure(outside, tenant):
    await asyncio.to_thread(tenant.user, "drew", "dispatcher")
    deadline = time.monotonic() + 60
    while (answer := await outside.login(tenant.name, "drew", PASSWORD)).status == 429:
        assert time.monotonic() < deadline
        await asyncio.sleep(1)
    assert answer.status == 200
    cookies = answer.headers.getall("set-cookie")
    assert cookies
    assert all("; secure" in cookie.lower() for cookie in cookies), cookies


@pytest.fixture
def echo():
    """A node that answers with the head of the request it got."""

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(head) + head)
        await writer.drain()
        writer.close()

    return answer


async def test_only_the_edge_names_request_trace_and_client(echo):
    node = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = node.sockets[0].getsockname()[1]
    sent = {
        "X-Request-Id": "chosen-by-a-client",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "x=1",
        "baggage": "x=1",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "ftp",
        "Forwarded": "for=192.0.2.1",
    }
    async with node:
        with nginx(port) as edge:
            headers = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
            for path in ("/", "/ws", "/ws/dispatch", "/api/login", "/api/driver/location"):
                status, answer = await asyncio.to_thread(ask, edge, path, headers=headers)
                assert status == 200
                head = answer.split(b"\r\n\r\n")[1].decode().lower()
                names = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                assert len(names["x-request-id"]) == 32
                assert names["x-forwarded-for"] == "127.0.0.1"
                assert names["x-forwarded-proto"] == "https"
                assert names["host"] == f"127.0.0.1:{edge.port}"
                assert not names.keys() & {"traceparent", "tracestate", "baggage", "forwarded"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:x", "[::1]", "127.0.0.1@evil"])
def test_requests_for_another_host_reach_no_node(edge, host):
    status, _ = ask(edge, "/livez", host=host)
    assert status in {400, 421}
    redirect = exchange(
        edge, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode(), port=edge.http_port
    )
    assert int(redirect.split()[1]) in {400, 421}
    assert b"location" not in redirect.lower()


def test_address_and_host_of_a_request_must_agree(edge):
    status, _ = ask(edge, f"https://127.0.0.1:{edge.port}/livez", host="evil.example")
    assert status == 421
    status, _ = ask(edge, f"https://127.0.0.1:{edge.port}/livez")
    assert status == 200
    assert exchange(edge, b"GET /livez HTTP/1.0\r\n\r\n").split()[1] in {b"400", b"421"}
    two = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert exchange(edge, two).split()[1] == b"400"


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-", b"PRI * HT"])
def test_connection_that_sends_no_request_is_closed_by_the_edge(edge, sent):
    started = time.monotonic()
    opened = trusting().wrap_socket(socket.create_connection(("127.0.0.1", edge.port), timeout=30))
    with opened, contextlib.suppress(ConnectionResetError):
        opened.sendall(sent)
        while opened.recv(1000):
            pass
    assert time.monotonic() - started < 20
