"""No bytes of a client make the server fail: every route and socket answers a refusal, and no traceback is logged.

The server of this file may have logged no error when it stops; `running_server` checks that.
"""

import aiohttp
import pytest
from yarl import URL

from harness.fixtures import running_server

BAD_BYTES = b"\xff\xfe\x80"


@pytest.fixture(scope="module")
def server(module_database):
    # Frames of a socket that has no credential yet are read, too.
    yield from running_server(module_database, {"FLEETWIRE_UNAUTHENTICATED_SOCKETS": "2"})


DEEP = 20_000

BODIES = {
    "bytes that are no text": BAD_BYTES,
    "bad bytes in a value": b'{"name":"' + BAD_BYTES + b'","tenant":"' + BAD_BYTES + b'","kind":"' + BAD_BYTES + b'"}',
    "bad bytes in a name": b'{"' + BAD_BYTES + b'":1}',
    "deep arrays": b"[" * DEEP,
    "deep arrays that end": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a member": b'{"payload":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a lone surrogate": rb'{"name":"\ud800"}',
    "nothing but a quote": b'"',
    "a number of many digits": b"1" * 10_000,
    "NUL in every name": (
        rb'{"tenant":"\u0000","user":"\u0000","password":"\u0000","name":"\u0000","role":"driver","device":"\u0000"}'
    ),
}

ROUTES = [
    ("POST", "/api/login"),
    ("POST", "/api/session/renew"),
    ("POST", "/api/users"),
    ("PATCH", "/api/users/anna"),
    ("POST", "/api/tokens"),
    ("POST", "/api/events"),
    ("POST", "/api/driver/location"),
]

VALID_SHAPES = {
    "login with NUL": ("/api/login", rb'{"tenant":"a\u0000","user":"b\u0000","password":"c\u0000"}'),
    "renewal with NUL": ("/api/session/renew", rb'{"refresh_token":"\u0000"}'),
    "token of a user with NUL": ("/api/tokens", rb'{"kind":"user","name":"\u0000"}'),
    "token of a device with NUL": ("/api/tokens", rb'{"kind":"device","name":"\u0000"}'),
    "token of an endless life": ("/api/tokens", b'{"kind":"ingest","name":"x","life_secs":9223372036854775808}'),
    "user with NUL": ("/api/users", rb'{"name":"\u0000","role":"driver"}'),
    "event in a room with NUL": ("/api/events", rb'{"room":"\u0000","kind":"message","payload":{"text":"x"}}'),
    "event at an impossible time": (
        "/api/events",
        b'{"room":"dispatch","kind":"message","payload":{"text":"x"},"occurred_at":9223372036854775807}',
    ),
}

PATHS = [
    "/favicon.svg/x",
    "/index.html/x/y",
    "/assets/x/../y",
    "/" + "x" * 5_000,
    "/%00",
    "/%ff%fe",
    "/assets/%00",
    "/assets/%ff",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/favicon.svg%2fx",
    "/api/users/%ff/sessions",
    "/api/users/%00/sessions",
    "/api/users?after=%ff",
    "/api/users?after=%00",
    "/api/users?limit=%ff",
    "/api/tokens?before=9223372036854775808",
    "/api/tokens/" + "9" * 5_000,
    "/api/events?room=%ff",
    "/api/events?room=%00",
    "/api/events?after=" + "9" * 5_000,
    "/api/devices/%ff",
    "/api/devices/%00/track",
    "/api/devices/van/track?from=%ff&to=%00",
    "/api/devices/van/track?from=" + "9" * 400,
    "/api/sessions/%ff",
    "/api/live?area=%ff",
]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_body_makes_a_route_fail(client, tenant, method, path, body):
    token = tenant.ingest if path.endswith("location") else tenant.admin
    answer = await client.request(method, path, token=token, body=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status < 500, answer.body
    assert answer.code


@pytest.mark.parametrize(("path", "body"), VALID_SHAPES.values(), ids=VALID_SHAPES.keys())
async def test_no_value_that_the_database_cannot_hold_makes_a_route_fail(client, tenant, path, body):
    answer = await client.request("POST", path, token=tenant.admin, body=body)
    assert 400 <= answer.status < 500, answer.body
    assert answer.code


@pytest.mark.parametrize("path", PATHS)
async def test_no_address_makes_a_route_fail(server, session, tenant, path):
    url, headers = URL(server.url + path, encoded=True), {"Authorization": f"Bearer {tenant.admin}"}
    async with session.get(url, headers=headers, allow_redirects=False) as answer:
        assert answer.status < 500, (answer.status, await answer.read())


FRAMES = {
    "bytes that are no text": BAD_BYTES,
    "a watch with bad bytes": b'{"type":"watch","devices":["' + BAD_BYTES + b'"]}',
    "a subscription with bad bytes": b'{"type":"subscribe","rooms":["' + BAD_BYTES + b'"]}',
    "an event with bad bytes": b'{"type":"publish","room":"' + BAD_BYTES + b'"}',
    "a heartbeat with bad bytes": b'{"type":"heartbeat","' + BAD_BYTES + b'":1}',
    "a heartbeat in arrays": b"[" * 50 + b"heartbeat",
    "deep arrays": b"[" * DEEP,
    "deep in a watch": b'{"type":"watch","area":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep in an event": b'{"type":"publish","payload":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep MessagePack": b"\x91" * DEEP,
    "nothing": b"",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
@pytest.mark.parametrize("path", ["/ws", "/ws/dispatch"])
@pytest.mark.parametrize("is_introduced", [True, False])
async def test_no_frame_makes_a_socket_fail(server, session, tenant, path, frame, is_introduced):
    token = tenant.ingest if path == "/ws" else tenant.admin
    headers = {"Authorization": f"Bearer {token}"} if is_introduced else {}
    async with session.ws_connect(server.url + path, headers=headers) as socket:
        await socket.send_bytes(frame)
        await socket.send_str("{}")
        code = await _close_code(socket)
    # Still open, closed for its size, or refused as a socket without a credential.
    assert code in {None, 1009, 4401, 4403}


async def _close_code(socket):
    """The code with which the server closes; None if it has nothing more to say for a moment."""
    while True:
        try:
            message = await socket.receive(timeout=0.5)
        except TimeoutError:
            return None
        if message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING}:
            return socket.close_code
