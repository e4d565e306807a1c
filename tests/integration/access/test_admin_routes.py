"""Users, tokens, sessions and the audit log, as an admin has them over HTTP on a running server."""

import asyncio
import json

import pytest

from harness.database import rows
from harness.fixes import fix
from harness.tenants import PASSWORD

OTHER_PASSWORD = "another horse battery staple"


@pytest.fixture
async def admin(tenant):
    return await tenant.issue_async("user", "ada", "admin")


async def call(client, method, path, token, body=None, **headers):
    sent = None if body is None else json.dumps(body).encode()
    return await client.request(
        method, path, token=token, body=sent, headers={"Content-Type": "application/json", **headers}
    )


async def refused_within_a_second(client, path, token):
    async with asyncio.timeout(1):
        while (answer := await client.get(path, token=token)).status == 200:
            await asyncio.sleep(0.01)
    return answer.refusal


async def test_an_admin_makes_a_user_who_logs_in(client, tenant, admin):
    form = {"name": "vera/2", "role": "viewer", "password": PASSWORD, "display_name": "Vera"}
    made = await call(client, "POST", "/api/users", admin, form)
    assert made.status == 201
    assert made.json["created_at"] > 1_700_000_000_000
    del made.json["created_at"]
    shown = {
        "name": "vera/2", "display_name": "Vera", "role": "viewer", "status": "active", "device": None,
        "has_password": True,
    }  # fmt: skip
    assert made.json | {"created_at": 0} == shown | {"created_at": 0}
    assert (await client.login(tenant.name, "vera/2", PASSWORD)).status == 200
    assert (await call(client, "POST", "/api/users", admin, form)).refusal == (409, "user_exists")
    changed = await call(client, "PATCH", "/api/users/vera%2F2", admin, {"role": "customer"})
    assert (changed.status, changed.json["role"]) == (200, "customer")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"name": " x", "role": "viewer"}, "name_invalid"),
        ({"name": "x", "role": "owner"}, "request_invalid"),
        ({"name": "x", "role": "viewer", "password": "short"}, "password_short"),
        ({"name": "x", "role": "viewer", "device": "van"}, "device_of_driver"),
        ({"name": "x", "role": "viewer", "status": "active"}, "request_invalid"),
    ],
)
async def test_a_user_that_cannot_be_is_refused(client, admin, form, code):
    assert (await call(client, "POST", "/api/users", admin, form)).refusal == (400, code)


async def test_a_change_ends_sessions_and_counts_for_tokens_at_once(client, tenant, admin):
    await call(client, "POST", "/api/users", admin, {"name": "dan", "role": "dispatcher", "password": PASSWORD})
    login = (await client.login(tenant.name, "dan", PASSWORD)).json["token"]
    made = await call(client, "POST", "/api/tokens", admin, {"kind": "user", "name": "dan"})
    token = made.json["token"]
    for each in (login, token):
        assert (await client.get("/api/live", token=each)).status == 200
    async with client.socket("/ws/dispatch", token=token) as feed:
        await feed.receive_type("snapshot")
        assert (await call(client, "PATCH", "/api/users/dan", admin, {"role": "customer"})).status == 200
        assert await feed.closed() == 4401
    assert (await refused_within_a_second(client, "/api/live", login)) == (401, "token_revoked")
    assert (await refused_within_a_second(client, "/api/live", token)) == (403, "forbidden")
    assert (await client.get("/api/session", token=token)).json["role"] == "customer"
    await call(client, "PATCH", "/api/users/dan", admin, {"status": "disabled"})
    assert (await refused_within_a_second(client, "/api/session", token)) == (401, "token_revoked")
    assert (await client.login(tenant.name, "dan", PASSWORD)).refusal == (403, "login_suspended")
    back = {"status": "active", "password": OTHER_PASSWORD}
    assert (await call(client, "PATCH", "/api/users/dan", admin, back)).status == 200
    assert (await client.login(tenant.name, "dan", OTHER_PASSWORD)).status == 200


async def test_the_last_admin_cannot_be_taken_away(client, admin):
    for change in ({"role": "viewer"}, {"status": "disabled"}):
        assert (await call(client, "PATCH", "/api/users/ada", admin, change)).refusal == (409, "last_admin")
    assert (await call(client, "PATCH", "/api/users/ada", admin, {"role": "admin"})).status == 200


async def test_a_driver_sends_and_sees_for_its_own_device_alone(client, tenant, admin):
    for device in ("van-1", "van-2"):
        assert (await client.send({"device": device, "fixes": [fix()]}, token=tenant.ingest)).status == 200
    form = {"name": "ruth", "role": "driver", "password": PASSWORD, "device": "van-1"}
    assert (await call(client, "POST", "/api/users", admin, form)).json["device"] == "van-1"
    login = (await client.login(tenant.name, "ruth", PASSWORD)).json
    assert login["session_expires_at"] - login["expires_at"] == pytest.approx(7.75 * 3_600_000, abs=60_000)
    token = login["token"]
    live = (await client.get("/api/live", token=token)).json
    assert [feature["properties"]["device"] for feature in live["features"]] == ["van-1"]
    whole = (await client.get("/api/live", token=tenant.dispatcher)).json
    assert live["features"][0] in whole["features"]
    assert (await client.get("/api/devices/van-1/track", token=token)).status == 200
    for device in ("van-2", "van-3"):
        assert (await client.get(f"/api/devices/{device}/track", token=token)).refusal == (404, "device_unknown")
    later = {"fixes": [fix()]}
    assert (await client.send(later, token=token)).receipt == (1, 0, {})
    assert (await client.send({"device": "van-2", **later}, token=token)).refusal == (403, "device_mismatch")
    assert (await client.handshake("/ws/dispatch", token=token)).refusal == (403, "forbidden")
    taken = await call(client, "PATCH", "/api/users/ruth", admin, {"device": None})
    assert (taken.status, taken.json["device"]) == (200, None)
    token = (await client.login(tenant.name, "ruth", PASSWORD)).json["token"]
    assert (await client.get("/api/live", token=token)).refusal == (403, "forbidden")
    assert (await client.send(later, token=token)).refusal == (403, "forbidden")


async def test_no_zero_character_reaches_the_database(client, admin):
    assert (await client.get("/api/users?after=%00", token=admin)).status == 200
    for member in ("name", "display_name", "device"):
        form = {"name": "zoe", "role": "driver", member: "a\0"}
        assert (await call(client, "POST", "/api/users", admin, form)).refusal == (400, "name_invalid"), member


async def test_tokens_are_made_listed_with_their_last_use_and_revoked(client, tenant, admin):
    made = await call(client, "POST", "/api/tokens", admin, {"kind": "device", "name": "van-9", "life_secs": 3600})
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    token, token_id = made.json["token"], made.json["token_id"]
    assert (await client.send({"fixes": [fix()]}, token=token)).receipt == (1, 0, {})
    listed = (await client.get("/api/tokens", token=admin)).json["tokens"]
    assert token not in json.dumps(listed)
    row = next(each for each in listed if each["token_id"] == token_id)
    assert (row["kind"], row["device"], row["revoked_at"]) == ("device", "van-9", None)
    assert row["expires_at"] - row["created_at"] == 3_600_000
    async with asyncio.timeout(30):
        while row["last_used_at"] is None:
            await asyncio.sleep(0.2)
            listed = (await client.get("/api/tokens", token=admin)).json["tokens"]
            row = next(each for each in listed if each["token_id"] == token_id)
    assert (await call(client, "DELETE", f"/api/tokens/{token_id}", admin)).status == 204
    assert (await client.send({"fixes": [fix()]}, token=token)).refusal == (401, "token_revoked")


async def test_scopes_narrow_what_a_token_may(client, tenant, admin):
    form = {"kind": "user", "name": "ada", "scopes": ["watch"]}
    token = (await call(client, "POST", "/api/tokens", admin, form)).json["token"]
    assert (await client.get("/api/live", token=token)).status == 200
    for path in ("/api/users", "/api/tokens", "/api/audit", "/api/sessions"):
        assert (await client.get(path, token=token)).refusal == (403, "forbidden"), path
    for scopes in ([], ["watch"]):
        wrong = {"kind": "ingest", "scopes": scopes}
        assert (await call(client, "POST", "/api/tokens", admin, wrong)).refusal == (400, "scope_unknown")
    wrong = {"kind": "user", "name": "nobody"}
    assert (await call(client, "POST", "/api/tokens", admin, wrong)).refusal == (404, "user_unknown")
    endless = {"kind": "ingest", "life_secs": 0}
    assert (await call(client, "POST", "/api/tokens", admin, endless)).refusal == (400, "life_invalid")


async def test_sessions_are_listed_and_ended_by_their_user_and_by_an_admin(client, tenant, admin):
    await call(client, "POST", "/api/users", admin, {"name": "sven", "role": "viewer", "password": PASSWORD})
    await call(client, "POST", "/api/users", admin, {"name": "tove", "role": "viewer", "password": PASSWORD})
    first, second = [(await client.login(tenant.name, "sven", PASSWORD)).json["token"] for _ in range(2)]
    stranger = (await client.login(tenant.name, "tove", PASSWORD)).json["token"]
    listed = (await client.get("/api/sessions", token=first)).json["sessions"]
    assert [each["current"] for each in listed] == [False, True]
    assert listed[0]["address"] == "127.0.0.1"
    assert "aiohttp" in listed[0]["user_agent"]
    newest = f"/api/sessions/{listed[0]['session_id']}"
    assert (await call(client, "DELETE", newest, stranger)).refusal == (404, "session_unknown")
    assert (await call(client, "DELETE", newest, first)).status == 204
    assert (await client.get("/api/session", token=second)).refusal == (401, "token_revoked")
    assert (await call(client, "DELETE", newest, first)).refusal == (404, "session_unknown")
    seen = (await client.get("/api/users/sven/sessions", token=admin)).json["sessions"]
    assert [each["session_id"] for each in seen] == [listed[1]["session_id"]]
    assert (await call(client, "DELETE", f"/api/sessions/{seen[0]['session_id']}", admin)).status == 204
    assert (await client.get("/api/session", token=first)).refusal == (401, "token_revoked")


async def test_every_change_is_noted_with_who_whom_and_whence(client, tenant, admin, module_database):
    asked = {"X-Request-Id": "proxy-4711-abc"}
    await call(client, "POST", "/api/users", admin, {"name": "eve", "role": "viewer", "password": PASSWORD}, **asked)
    await call(client, "PATCH", "/api/users/eve", admin, {"password": OTHER_PASSWORD})
    token_id = (await call(client, "POST", "/api/tokens", admin, {"kind": "ingest", "name": "gateway"})).json[
        "token_id"
    ]
    await call(client, "DELETE", f"/api/tokens/{token_id}", admin)
    page = (await client.get("/api/audit", token=admin)).json
    noted = [(each["actor"], each["action"], each["subject"]) for each in page["entries"]]
    assert noted[:4] == [
        ("ada", "token.revoke", str(token_id)),
        ("ada", "token.create", str(token_id)),
        ("ada", "user.change", "eve"),
        ("ada", "user.create", "eve"),
    ]
    assert noted[4][:2] == ("operator", "token.create")
    assert page["entries"][3]["request_id"] == "proxy-4711-abc"
    assert page["entries"][3]["address"] == "127.0.0.1"
    assert PASSWORD not in json.dumps(page)
    assert page["next"] is None
    seen, before = [], {}
    while True:
        part = (await client.get("/api/audit", token=admin, limit="2", **before)).json
        seen += part["entries"]
        if part["next"] is None:
            break
        before = {"before": str(part["next"])}
    assert seen == page["entries"]


async def test_a_change_that_fails_is_not_noted(client, tenant, admin, module_database):
    before = await rows(module_database, "SELECT count(*) FROM audit_log")
    await call(client, "POST", "/api/users", admin, {"name": "ada", "role": "viewer"})
    await call(client, "PATCH", "/api/users/ada", admin, {"role": "viewer"})
    await call(client, "DELETE", "/api/tokens/999999999", admin)
    assert await rows(module_database, "SELECT count(*) FROM audit_log") == before


async def test_an_admin_reaches_nothing_of_another_tenant(client, tenant, rival, admin, module_database):
    theirs = await rows(
        module_database,
        "SELECT credential_id FROM credential JOIN tenant USING (tenant_id) WHERE tenant.name = $1",
        rival.name,
    )
    await asyncio.to_thread(rival.user, "rita", "viewer")
    token = (await client.login(rival.name, "rita", PASSWORD)).json["token"]
    session = (await client.get("/api/sessions", token=token)).json["sessions"][0]["session_id"]
    for row in theirs:
        answer = await call(client, "DELETE", f"/api/tokens/{row['credential_id']}", admin)
        assert answer.refusal == (404, "token_unknown")
    assert (await call(client, "DELETE", f"/api/sessions/{session}", admin)).refusal == (404, "session_unknown")
    assert (await call(client, "PATCH", "/api/users/rita", admin, {"status": "disabled"})).refusal == (
        404,
        "user_unknown",
    )
    assert (await client.get("/api/users/rita/sessions", token=admin)).refusal == (404, "user_unknown")
    for path in ("/api/users", "/api/tokens", "/api/audit"):
        assert "rita" not in (await client.get(path, token=admin)).body.decode(), path
    assert (await client.get("/api/session", token=token)).status == 200
