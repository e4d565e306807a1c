"""What is around every answer: ids, headers that keep browsers safe, CORS, limits of size, and the slow ones' log."""

import asyncio
import json
import re

import pytest

from harness.client import Client
from harness.database import rows, temporary_database
from harness.fixes import fix
from harness.fixtures import running_server
from harness.process import serving

PAGE = "https://console.example"
PATHS = [
    "/livez",
    "/health",
    "/",
    "/openapi.json",
    "/api/live",
    "/api/session",
    "/no/such/page",
    "/api/driver/location",
]


@pytest.fixture(scope="module")
def watchful(module_database):
    """Behind a TLS proxy, with a console elsewhere, and with everything taken for slow."""
    settings = {
        "FLEETWIRE_ALLOWED_ORIGINS": PAGE,
        "FLEETWIRE_TLS_PROXY": "yes",
        "FLEETWIRE_SLOW_REQUEST_SECS": "0.000001",
        "FLEETWIRE_SLOW_QUERY_SECS": "0.000001",
    }
    yield from running_server(module_database, settings)


@pytest.fixture
def behind(watchful, session):
    return Client(watchful.url, session)


def logged(server, event):
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def until_logged(server, event, holds):
    async with asyncio.timeout(20):
        while not (found := [line for line in logged(server, event) if holds(line)]):
            await asyncio.sleep(0.05)
    return found[0]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_keeps_browsers_safe(client, tenant, path):
    for token in (None, tenant.dispatcher):
        headers = (await client.get(path, token=token)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "'unsafe-eval'" not in headers["Content-Security-Policy"]
        assert "X-Response-Time" in headers
        # Without TLS a browser must not be told to insist on it, and without an allow-list nobody reads from elsewhere.
        assert "Strict-Transport-Security" not in headers
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        for name in ("X-Content-Type-Options", "Content-Security-Policy", "X-Response-Time"):
            assert len(headers.getall(name)) == 1


async def test_pages_and_scripts_load_from_this_server_only(client):
    page = await client.get("/api-docs")
    script = re.search(rb'src="([^"]+\.js)"', page.body)
    for answer in (page, await client.get("/"), await client.get(script.group(1).decode())):
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'; script-src 'self'; " in policy
        assert "http" not in policy


async def test_a_receipt_is_as_safe(client, tenant):
    answer = await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    assert answer.receipt == (1, 0, {})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"\d+\.\dms", answer.headers["X-Response-Time"])


async def test_behind_tls_browsers_are_told_to_stay_there_and_cookies_are_secure(behind, tenant):
    for path in PATHS:
        assert (await behind.get(path)).headers["Strict-Transport-Security"] == "max-age=31536000"
    await asyncio.to_thread(tenant.user, "sam", "viewer")
    login = await behind.login(tenant.name, "sam", "correct horse battery staple")
    assert "; Secure" in login.headers["Set-Cookie"]
    cookie = {"Cookie": f"__Host-fleetwire_session={login.json['token']}"}
    plain = {"Origin": behind.url}  # A page of the same host that did not come over TLS.
    answer = await behind.request("POST", "/api/logout", headers=cookie | plain)
    assert answer.refusal == (403, "origin_forbidden")
    tls = {"Origin": behind.url.replace("http:", "https:")}
    assert (await behind.request("POST", "/api/logout", headers=cookie | tls)).status == 204


@pytest.mark.parametrize("path", ["/api/live", "/api/driver/location", "/no/such/page"])
async def test_a_named_page_may_read_answers_and_another_may_not(behind, path):
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = await behind.request("OPTIONS", path, headers={"Origin": PAGE, **ask})
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert {"PATCH", "PUT"} <= set(preflight.headers["Access-Control-Allow-Methods"].split(", "))
    named = (await behind.request("GET", path, headers={"Origin": PAGE})).headers
    assert named["Access-Control-Allow-Origin"] == PAGE
    assert "Origin" in named.getall("Vary")
    for stranger in ("https://evil.example", "null", f"{PAGE}.evil.example", "https://console.example:444"):
        for method, headers in (("OPTIONS", ask), ("GET", {})):
            answer = await behind.request(method, path, headers={"Origin": stranger, **headers})
            assert "Access-Control-Allow-Origin" not in answer.headers, stranger
            assert "Origin" in answer.headers.getall("Vary")


async def test_headers_and_bodies_have_a_limit(client, tenant):
    many = {f"X-Many-{number}": "a" * 1_000 for number in range(40)}
    assert (await client.request("GET", "/livez", headers=many)).refusal == (431, "headers_too_large")
    assert (await client.handshake("/ws", token=tenant.ingest, headers=many)).refusal == (431, "headers_too_large")
    few = {f"X-Many-{number}": "a" * 1_000 for number in range(20)}
    assert (await client.request("GET", "/livez", headers=few)).status == 200
    # Refused by what is announced: the body is not waited for.
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rpartition(":")[2]))
    head = "POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n\r\n"
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(15):
        status = await reader.readline()
    writer.close()
    assert status.startswith(b"HTTP/1.1 413 ")


async def test_a_sane_id_of_the_proxy_is_kept_and_another_replaced(client):
    for sane in ("proxy-4711-abc", "0af7651916cd43dd8448eb211c80319c"):
        headers = (await client.request("GET", "/livez", headers={"X-Request-Id": sane})).headers
        assert headers.getall("X-Request-Id") == [sane]
    seen = set()
    for wrong in ("short", "a" * 65, "has a space", 'quote"quote', None):
        sent = {} if wrong is None else {"X-Request-Id": wrong}
        seen.add((await client.request("GET", "/livez", headers=sent)).headers["X-Request-Id"])
    assert len(seen) == 5
    assert not seen & {"short", "a" * 65, "has a space", 'quote"quote'}


async def test_a_refusal_names_its_request(client):
    asked = {"X-Request-Id": "proxy-4711-abc"}
    for method, path in (("GET", "/api/live"), ("GET", "/nowhere"), ("POST", "/api/driver/location")):
        answer = await client.request(method, path, headers=asked)
        assert answer.json["request_id"] == "proxy-4711-abc", path
        assert answer.headers.getall("X-Request-Id") == ["proxy-4711-abc"]
    refused = await client.handshake("/ws", token="fwi_" + "A" * 43, headers=asked)
    assert refused.json["request_id"] == "proxy-4711-abc"
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"\d+\.\dms", refused.headers["X-Response-Time"])


async def test_a_receipt_names_the_request_that_had_a_name(client, tenant):
    batch = {"device": "van", "fixes": [fix()]}
    named = await client.send(batch, token=tenant.ingest, headers={"X-Request-Id": "proxy-4711-abc"})
    assert named.headers.getall("X-Request-Id") == ["proxy-4711-abc"]
    assert "X-Request-Id" not in (await client.send(batch, token=tenant.ingest)).headers


async def test_slow_requests_and_statements_are_logged_with_the_id_and_the_plan(behind, watchful, tenant):
    await behind.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    asked = {"X-Request-Id": "proxy-slow-1"}
    path = "/api/devices/van/track"
    assert (await behind.request("GET", path, token=tenant.dispatcher, headers=asked)).status == 200
    ours = lambda line: line.get("request_id") == "proxy-slow-1"  # noqa: E731
    request = await until_logged(watchful, "A request was slow.", ours)
    assert (request["method"], request["route"], request["status"]) == ("GET", "/api/devices/{name}/track", 200)
    statement = await until_logged(
        watchful, "A statement was slow.", lambda line: line["statement"] == "track.track_page"
    )
    assert statement["pool"] == "app"
    assert tenant.dispatcher not in watchful.log()
    plan = await until_logged(watchful, "The plan of a slow statement.", lambda _: True)
    assert any("cost=" in line for line in plan["plan"])


async def test_every_request_is_logged_where_that_is_wanted(module_database, session, tenant):
    for server in running_server(module_database, {"FLEETWIRE_LOG_REQUESTS": "yes"}):
        client = Client(server.url, session)
        asked = {"X-Request-Id": "proxy-4711-abc"}
        batch = {"device": "van", "fixes": [fix()]}
        receipt = await client.send(batch, token=tenant.ingest, headers=asked)
        assert receipt.headers.getall("X-Request-Id") == ["proxy-4711-abc"]
        await client.request("GET", "/api/devices/van/track?secret=1", token=tenant.dispatcher, headers=asked)
        await client.request("POST", "/no/such/page", headers=asked)
        found = [
            (line["method"], line["route"], line["status"])
            for line in logged(server, "A request was answered.")
            if line["request_id"] == "proxy-4711-abc"
        ]
        assert found[:2] == [("POST", "/api/driver/location", 200), ("GET", "/api/devices/{name}/track", 200)]
        assert [status for _, _, status in found[2:]] == [405]
        assert "such" not in server.log()
        assert "secret" not in server.log()
        assert tenant.ingest not in server.log()


async def test_only_slow_requests_are_logged_otherwise(client, server, tenant):
    await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    await client.get("/livez")
    assert logged(server, "A request was answered.") == []


async def test_the_usual_metrics_and_the_pools_figures(client, tenant):
    admin = await tenant.issue_async("user", "ada", "admin")
    await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    await client.get("/api/devices/van/track", token=admin)
    await client.get("/no/such/page")
    await client.request("BREW", "/livez")
    text = (await client.get("/metrics", token=admin)).body.decode()
    for line in (
        'http_request_duration_seconds_count{method="POST",route="/api/driver/location",status="200"} ',
        'http_request_duration_seconds_count{method="GET",route="/api/devices/{name}/track",status="200"} ',
        'database_connections_active{pool="app"} ',
        'database_connections_max{pool="writer"} 3.0',
    ):
        assert line in text, line
    assert "/no/such/page" not in text
    assert "BREW" not in text
    stats = (await client.get("/api/db/stats", token=admin)).json
    assert [pool["pool"] for pool in stats["pools"]] == ["ingest", "writer", "app"]
    for pool in stats["pools"]:
        assert pool["active"] + pool["idle"] == pool["open"] <= pool["max"]
    assert sum(pool["open"] for pool in stats["pools"]) >= 5
    assert sum(pool["max"] for pool in stats["pools"]) + 2 <= stats["max_connections"]


async def test_a_worker_begins_with_few_connections_one_of_which_listens(postgres_dsn, migrated_template):
    of_the_server = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with temporary_database(postgres_dsn, migrated_template) as dsn, serving("--database-url", dsn) as server:
        found = await rows(dsn, f"SELECT application_name {of_the_server} AND backend_type = 'client backend'")
        assert server.stop() == 0
    names = [row["application_name"] for row in found]
    assert names.count("fleetwire listener") == 1
    assert len(names) <= 8


async def test_health_tells_memory_processors_and_age(client):
    health = (await client.get("/health")).json
    assert health["database"]["ok"]
    assert min(health["memory_bytes"], health["memory_peak_bytes"]) > 10_000_000
    assert health["uptime_secs"] > 0
    assert health["cpu"].keys() == {"busy", "used_secs", "load_1_min"}


async def test_a_page_that_is_unchanged_keeps_its_policy(client):
    known = (await client.get("/")).headers["ETag"]
    again = await client.request("GET", "/", headers={"If-None-Match": known})
    assert again.status == 304
    assert "Content-Security-Policy" not in again.headers


async def raw(server, head):
    """The answer to bytes that no client library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head + b"\r\nConnection: close\r\n\r\n")
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("path", [b"/livez", b"/", b"/api/live", b"/ws", b"/no/such/page"])
async def test_a_request_has_one_host(server, path):
    for hosts in (b"Host: a\r\nHost: b", b"Host: a\r\nhost: a", b"X-None: x", b"Host:"):
        answer = await raw(server, b"GET %b HTTP/1.1\r\n%b" % (path, hosts))
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b"host_invalid" in answer
    assert b"host_invalid" not in await raw(server, b"GET %b HTTP/1.1\r\nHost: a" % path)
    assert b"host_invalid" not in await raw(server, b"GET %b HTTP/1.0\r\nX-None: x" % path)


@pytest.mark.parametrize("path", [*PATHS, "/favicon.svg", "/assets/none"])
async def test_other_pages_share_no_window_and_load_nothing(client, tenant, path):
    headers = (await client.get(path, token=tenant.dispatcher)).headers
    assert headers["Server"] == "fleetwire"
    assert len(headers.getall("Server")) == 1
    policy = headers["Content-Security-Policy"]
    assert "form-action 'self'" in policy or "form-action 'none'" in policy
    assert "base-uri 'none'" in policy
    if path != "/api/driver/location":
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    if headers["Content-Type"].startswith("text/html"):
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "form-action 'self'" in policy


async def test_the_address_of_the_map_style_is_for_users(module_database, session, tenant):
    style = "https://jane:doe7@tiles.example/KEY1/style.json?key=KEY2"
    with serving("--database-url", module_database, "--map-style", style) as running:
        there = Client(running.url, session)
        public = await there.get("/api/console")
        assert (public.status, public.json["map_style"]) == (200, None)
        assert (await there.get("/api/console", token="fw_user_" + "x" * 43)).json["map_style"] is None
        assert (await there.get("/api/console", token=tenant.dispatcher)).json["map_style"] == style
        page = await there.get("/")
        assert "https://tiles.example" in page.headers["Content-Security-Policy"]
        for secret in ("KEY1", "KEY2", "jane", "doe7"):
            assert secret not in page.headers["Content-Security-Policy"]
            assert secret.encode() not in page.body
