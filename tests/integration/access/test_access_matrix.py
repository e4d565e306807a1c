"""Every door with every credential: the table below is held against the server's own description of its routes.

A route that the description has and the table does not fails the first test: whoever adds one must say who may use it.
"""

import asyncio
import json

import pytest

from harness.database import rows
from harness.fixes import fix
from harness.fixtures import running_server
from harness.routes import DEVICE, JSON, ask
from harness.tenants import PASSWORD, Tenant

ANYONE = "anyone"
SENDERS = frozenset({"ingest", "device"})
WATCHERS = frozenset({"admin", "dispatcher", "viewer", "session"})
# A driver with a device: of that one it sends and sees, of another it does neither.
DRIVER = frozenset({"driver"})
ADMIN = frozenset({"admin"})
PEOPLE = WATCHERS | DRIVER | {"customer", "driver-without-device"}
EVENTFUL = frozenset({"admin", "dispatcher", "device", "driver", "driver-without-device"})
DISPATCHERS = frozenset({"admin", "dispatcher"})
EVERYBODY = SENDERS | PEOPLE

# Route: who may use it, and the status they get.
ROUTES = {
    ("get", "/livez"): (ANYONE, 200),
    ("get", "/readyz"): (ANYONE, 200),
    ("get", "/health"): (ANYONE, 200),
    ("get", "/api/console"): (ANYONE, 200),
    ("post", "/api/login"): (ANYONE, 400),
    ("get", "/api/session"): (EVERYBODY, 200),
    ("get", "/api/live"): (WATCHERS | DRIVER, 200),
    ("get", "/api/devices/{name}/track"): (WATCHERS | DRIVER, 200),
    ("get", "/api/console/overlay"): (WATCHERS, 200),
    ("get", "/metrics"): (ADMIN, 200),
    ("get", "/api/websocket/stats"): (ADMIN, 200),
    ("get", "/api/devices"): (WATCHERS, 200),
    ("get", "/api/cache/stats"): (ADMIN, 200),
    ("get", "/api/events"): (EVENTFUL, 200),
    ("post", "/api/events"): (EVENTFUL, 400),
    ("put", "/api/orders/{order}/devices"): (DISPATCHERS, 204),
    ("delete", "/api/orders/{order}/devices"): (DISPATCHERS, 204),
    ("get", "/api/db/stats"): (ADMIN, 200),
    ("post", "/api/driver/location"): (SENDERS | DRIVER, 200),
    ("get", "/api/sessions"): (PEOPLE, 200),
    ("delete", "/api/sessions/{session_id}"): (PEOPLE, 404),
    ("get", "/api/users"): (ADMIN, 200),
    ("post", "/api/users"): (ADMIN, 400),
    ("patch", "/api/users/{name}"): (ADMIN, 404),
    ("get", "/api/users/{name}/sessions"): (ADMIN, 404),
    ("get", "/api/tokens"): (ADMIN, 200),
    ("post", "/api/tokens"): (ADMIN, 400),
    ("delete", "/api/tokens/{token_id}"): (ADMIN, 404),
    ("get", "/api/audit"): (ADMIN, 200),
    ("post", "/api/password"): (PEOPLE, 400),
    ("post", "/api/session/renew"): (ANYONE, 401),  # by the refresh token, which none of these is
    ("post", "/api/logout"): (frozenset({"session"}), 204),  # last: afterwards the session is over
}
SOCKETS = {"/ws": SENDERS | DRIVER, "/ws/dispatch": WATCHERS}


@pytest.fixture(scope="module")
def server(module_database, tmp_path_factory):
    overlay = tmp_path_factory.mktemp("overlay") / "streets.geojson"
    overlay.write_text('{"type":"FeatureCollection","features":[]}')
    yield from running_server(module_database, {"FLEETWIRE_MAP_OVERLAY": str(overlay)})


@pytest.fixture
async def credentials(client, tenant):
    """A token of each kind. A session's is made once and again after a logout: logins have a rate."""
    session = {}

    async def credential(kind, *, anew=False):
        if kind == "ingest":
            return tenant.ingest
        if kind == "device":
            return await tenant.issue_async("device", DEVICE)
        if kind == "session":
            if anew or not session:
                session["token"] = (await client.login(tenant.name, "sam", PASSWORD)).json["token"]
            return session["token"]
        if kind == "driver-without-device":
            return await tenant.issue_async("user", "dan", "driver")
        return await tenant.issue_async("user", f"one-{kind}", kind)

    await asyncio.to_thread(tenant.user, "sam", "viewer")
    await asyncio.to_thread(tenant.user, "one-driver", "driver", device=DEVICE)
    answer = await client.send({"device": DEVICE, "fixes": [fix()]}, token=tenant.ingest)
    assert answer.receipt == (1, 0, {})
    return credential


async def test_the_table_names_every_route(client):
    document = (await client.get("/openapi.json")).json
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    assert described == ROUTES.keys()


async def test_without_a_credential_only_health_login_and_the_page_answer(client):
    for route, (who, status) in ROUTES.items():
        answer = await ask(client, route)
        if who == ANYONE:
            assert answer.status == status, route
        else:
            assert answer.refusal == (401, "token_missing"), route
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    for path in SOCKETS:
        assert (await client.handshake(path)).refusal == (401, "token_missing")


async def test_a_wrong_credential_is_no_better_than_none(client):
    for route, (who, status) in ROUTES.items():
        answer = await ask(client, route, "fwu_" + "A" * 43)
        if who == ANYONE:
            assert answer.status == status, route
        elif who == frozenset({"session"}):
            assert answer.refusal == (403, "forbidden"), route  # By its shape alone it is no session's.
        else:
            assert answer.refusal == (401, "token_invalid"), route


@pytest.mark.parametrize("kind", sorted(EVERYBODY))
async def test_each_credential_opens_its_own_doors_and_no_other(client, credentials, kind):
    for route, (who, status) in ROUTES.items():
        answer = await ask(client, route, await credentials(kind))
        if who == ANYONE or kind in who:
            assert answer.status == status, (route, answer.body)
        else:
            assert answer.refusal == (403, "forbidden"), route
    token = await credentials(kind, anew=True)
    for path, who in SOCKETS.items():
        if kind in who:
            async with client.socket(path, token=token) as socket:
                await socket.raw.close()
        else:
            assert (await client.handshake(path, token=token)).refusal == (403, "forbidden"), path


async def test_session_cookie_reads_from_anywhere_and_writes_from_our_own_page_only(client, credentials):
    cookie = {"Cookie": f"fleetwire_session={await credentials('session')}"}
    assert (await ask(client, ("get", "/api/live"), headers=cookie)).status == 200
    for origin in (None, "https://evil.example", "null", f"{client.url}.evil.example"):
        foreign = cookie if origin is None else cookie | {"Origin": origin}
        answer = await ask(client, ("post", "/api/logout"), headers=foreign)
        assert answer.refusal == (403, "origin_forbidden"), origin
    assert (await ask(client, ("post", "/api/logout"), headers=cookie | {"Origin": client.url})).status == 204
    assert (await ask(client, ("get", "/api/live"), headers=cookie)).refusal == (401, "token_revoked")


async def test_login_sets_a_cookie_that_no_script_reads(client, tenant, credentials):
    answer = await client.login(tenant.name, "sam", PASSWORD)
    attributes = [part.strip().lower() for part in answer.headers["Set-Cookie"].split(";")]
    assert attributes[0].startswith("fleetwire_session=")
    assert {"httponly", "samesite=strict", "path=/"} <= set(attributes)
    assert answer.headers["Cache-Control"] == "no-store"
    for login in [(tenant.name, "sam", "wrong"), (tenant.name, "nobody", PASSWORD), ("x", "sam", PASSWORD)]:
        refused = await client.login(*login)
        assert refused.refusal == (401, "login_failed")
        assert "Set-Cookie" not in refused.headers


async def rivals_token(client, rival, kind):
    """A credential of the same kind in another company, whose driver has a device of its own."""
    if kind == "ingest":
        return rival.ingest
    if kind == "device":
        return await rival.issue_async("device", "own-van")
    if kind == "session":
        await asyncio.to_thread(rival.user, "rob", "admin")
        return (await client.login(rival.name, "rob", PASSWORD)).json["token"]
    if kind == "driver":
        await asyncio.to_thread(rival.user, "rick", "driver", device="own-van")
        return await rival.issue_async("user", "rick")
    return await rival.issue_async("user", f"rival-{kind}", kind)


async def belongings(client, tenant, session):
    """What the company has that a rival could see or change, beside the track."""
    order = await rows(
        tenant.dsn,
        "SELECT d.name FROM order_device JOIN tenant AS t USING (tenant_id) "
        "JOIN device AS d USING (tenant_id, device_id) WHERE t.name = $1",
        tenant.name,
    )
    found = {
        path: (await client.get(path, token=token)).json
        for path, token in [
            ("/api/events", tenant.dispatcher),
            ("/api/users", tenant.admin),
            ("/api/tokens", tenant.admin),
            ("/api/sessions", session),
        ]
    }
    # When a token was used last is noted a moment later.
    found["/api/tokens"] = [(each["token_id"], each["revoked_at"]) for each in found["/api/tokens"]["tokens"]]
    return found | {"order": [row["name"] for row in order]}


@pytest.mark.parametrize("kind", sorted(EVERYBODY - {"driver-without-device"}))
async def test_another_tenant_sees_no_trace_through_any_route_with_any_role(
    client, tenant, credentials, module_database, kind
):
    rival = await asyncio.to_thread(Tenant, module_database)
    token = await rivals_token(client, rival, kind)
    session = await credentials("session")
    event = {"room": "dispatch", "kind": "message", "payload": {"text": "word-of-the-matrix"}}
    for method, path, body in (
        ("POST", "/api/events", event),
        ("PUT", "/api/orders/load-7/devices", {"devices": [DEVICE]}),
    ):
        done = await client.request(method, path, token=tenant.dispatcher, body=json.dumps(body).encode(), headers=JSON)
        assert done.status in {201, 204}, done.body
    owned = await belongings(client, tenant, session)
    assert owned["order"] == [DEVICE]
    ids = {
        "session_id": owned["/api/sessions"]["sessions"][0]["session_id"],
        "token_id": str(owned["/api/tokens"][0][0]),
    }
    before = await client.get(f"/api/devices/{DEVICE}/track", token=tenant.dispatcher)
    # Sending last: afterwards the other company has a device of that name, and its own.
    for route in sorted(ROUTES, key=lambda route: "location" in route[1]):
        if route == ("post", "/api/logout"):
            continue  # It would end the session that asks on.
        answer = await ask(client, route, token, ids=ids)
        if "_id}" in route[1]:
            assert answer.refusal in {(403, "forbidden"), (404, "session_unknown"), (404, "token_unknown")}, route
        told = answer.body.replace(f"There is no device '{DEVICE}'".encode(), b"")
        told = told.replace(f"There is no user {DEVICE}".encode(), b"")
        for trace in (tenant.name, DEVICE, "48.137154", "one-driver", '"sam"', "word-of-the-matrix"):
            assert trace.encode() not in told, route
        if "track" in route[1] and kind in WATCHERS | DRIVER:
            assert answer.refusal == (404, "device_unknown")
    after = await client.get(f"/api/devices/{DEVICE}/track", token=tenant.dispatcher)
    assert before.body == after.body
    assert await belongings(client, tenant, session) == owned
    if kind in WATCHERS:
        async with client.socket("/ws/dispatch", token=token) as feed:
            await feed.send({"type": "watch"})
            assert (await feed.receive_type("snapshot"))["positions"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/no/such/page", "/api/nothing", "/settings.py", "/..%2fsettings.py", "/%2e%2e/settings.py",
        "/assets/..%2f..%2fcli.py", "/..%5csettings.py", "/%00",
        "/assets/%00.js", f"/{'a' * 300}", f"/assets/{'a/' * 3000}", "/%ff%fe",
    ],
)  # fmt: skip
async def test_what_is_not_there_is_not_served(client, path):
    assert (await client.get(path)).refusal == (404, "not_found")


async def test_sockets_exist_where_they_are_described_only(client, tenant):
    for path in ("/ws/", "/ws/other", "/", "/api/live"):
        assert (await client.handshake(path, token=tenant.dispatcher)).status != 101
