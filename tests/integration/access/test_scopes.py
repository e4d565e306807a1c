"""Every subset of every role's permissions against every route and message: fewer scopes never open more.

What a route needs stands in the table below by permission, apart from the server's own; of what a route answers, only
whether it lets in counts here.
"""

import json
from itertools import combinations

import pytest

from fleetwire.access.identity.principal import PERMISSIONS
from harness.fixes import fix
from harness.routes import DEVICE, JSON, ask

# Route: the permissions of which one is needed. A route that is open to all, or to a session alone, is left out.
NEEDS = {
    ("get", "/api/session"): None,
    ("get", "/api/live"): {"watch", "watch_own"},
    ("get", "/api/devices/{name}/track"): {"watch", "watch_own"},
    ("get", "/api/console/overlay"): {"watch"},
    ("get", "/metrics"): {"operate"},
    ("get", "/api/websocket/stats"): {"operate"},
    ("get", "/api/devices"): {"watch"},
    ("get", "/api/cache/stats"): {"operate"},
    ("get", "/api/events"): {"events"},
    ("post", "/api/events"): {"events"},
    ("put", "/api/orders/{order}/devices"): {"dispatch"},
    ("delete", "/api/orders/{order}/devices"): {"dispatch"},
    ("get", "/api/db/stats"): {"operate"},
    ("post", "/api/driver/location"): {"ingest"},
    ("get", "/api/sessions"): {"account"},
    ("post", "/api/password"): {"account"},
    ("delete", "/api/sessions/{session_id}"): {"account"},
    ("get", "/api/users"): {"administer"},
    ("post", "/api/users"): {"administer"},
    ("patch", "/api/users/{name}"): {"administer"},
    ("get", "/api/users/{name}/sessions"): {"administer"},
    ("get", "/api/tokens"): {"administer"},
    ("post", "/api/tokens"): {"administer"},
    ("delete", "/api/tokens/{token_id}"): {"administer"},
    ("get", "/api/audit"): {"administer"},
}
OPEN = {"/livez", "/readyz", "/health", "/api/console", "/api/login", "/api/session/renew", "/api/logout"}
OTHER = "van-of-another"
SECRET_ROOMS = ("dispatch", f"driver:{OTHER}", "order:of-another", "*")


def message(text, room):
    return {"room": room, "kind": "message", "payload": {"text": text}}


async def publish(client, form, token):
    answer = await client.request("POST", "/api/events", token=token, body=json.dumps(form).encode(), headers=JSON)
    assert answer.status == 201, answer.body


def subsets(role):
    permissions = sorted(PERMISSIONS[role])
    return [list(some) for size in range(1, len(permissions) + 1) for some in combinations(permissions, size)]


async def token_of(tenant, role, scopes, number):
    """A user or a device of its own for each subset, so that none uses up another's limit."""
    if role == "ingest":
        return await tenant.issue_async("ingest", scopes=scopes)
    if role == "device":
        return await tenant.issue_async("device", f"{DEVICE}-{number}", scopes=scopes)
    return await tenant.issue_async("user", f"{role}-{number}", role, scopes=scopes)


async def heard(client, token, scopes, named=None):
    """The rooms of a page of events."""
    answer = await client.get("/api/events?limit=100" + (f"&room={named}" if named else ""), token=token)
    if "events" not in scopes:
        assert answer.refusal == (403, "forbidden")
        return set()
    if answer.status == 403:
        assert answer.code == "room_forbidden"
        return set()
    return {event["room"] for event in answer.json["events"]}


async def socket_answers(client, path, token, *frames):
    """The types, or codes, that the frames of a socket are answered by; None if it is not let in."""
    if (await client.handshake(path, token=token)).status != 101:
        return None
    found = []
    async with client.socket(path, token=token) as socket:
        for frame in frames:
            await socket.send(frame)
            while (answer := await socket.receive())["type"] in {"snapshot", "moved", "event", "heartbeat"}:
                pass
            found.append(answer.get("code", answer["type"]))
    return found


async def test_the_table_names_every_route_that_is_closed(client):
    document = (await client.get("/openapi.json")).json
    described = {(method, path) for path, item in document["paths"].items() for method in item if path not in OPEN}
    assert described == NEEDS.keys()


@pytest.mark.parametrize("role", sorted(PERMISSIONS))
async def test_a_subset_of_a_roles_permissions_opens_what_it_names_and_nothing_else(client, tenant, role):
    for room in ("dispatch", f"driver:{OTHER}", "order:of-another"):
        await publish(client, message("secret", room=room), tenant.dispatcher)
    for number, scopes in enumerate(subsets(role)):
        token = await token_of(tenant, role, scopes, number)
        named = f"{role} {scopes}"
        # A driver without a device has neither of these; the device's own are tested with the roles' matrix.
        has = set(scopes) - ({"ingest", "watch_own"} if role == "driver" else set())
        for route, needed in NEEDS.items():
            answer = await ask(client, route, token)
            is_let_in = needed is None or bool(needed & has)
            assert (answer.status == 403 and answer.code == "forbidden") == (not is_let_in), (named, route)
        reads_all = {"events", "dispatch"} <= has
        for room in (None, *SECRET_ROOMS):
            found = await heard(client, token, has, room)
            if reads_all:
                assert found, (named, room)
            else:
                assert not found, (named, room)
        await messages_are_let_in_as_named(client, token, has, named)


async def messages_are_let_in_as_named(client, token, has, named):
    """Each kind of message on each socket; a socket is open with one of the permissions that it is for."""
    frames = [{"type": "events", "rooms": [room]} for room in SECRET_ROOMS] + [
        {"type": "event", "room": room, "kind": "message", "payload": {"text": "x"}}
        for room in ("dispatch", f"driver:{OTHER}")
    ]
    for path, permission in (("/ws", "ingest"), ("/ws/dispatch", "watch")):
        answers = await socket_answers(client, path, token, *frames)
        if permission not in has:
            assert answers is None, (named, path)
            continue
        if {"events", "dispatch"} <= has:
            assert answers == ["joined"] * len(SECRET_ROOMS) + ["event_stored"] * 2, (named, path)
        elif "events" not in has:
            assert answers == ["forbidden"] * len(frames), (named, path)
        else:
            can_report = "report" in has
            published = ["event_stored", "room_forbidden"] if can_report else ["forbidden"] * 2
            assert answers == ["room_forbidden"] * len(SECRET_ROOMS) + published, (named, path)


async def test_a_driver_named_like_a_device_does_not_hear_the_devices_room(client, tenant):
    await client.send({"device": "van-9", "fixes": [fix()]}, token=tenant.ingest)
    await publish(client, message("for the van", room="driver:van-9"), tenant.dispatcher)
    driver = await tenant.issue_async("user", "van-9", "driver")
    answer = await client.get("/api/events?room=driver:van-9", token=driver)
    assert answer.refusal == (403, "room_forbidden")
    assert (await client.get("/api/events", token=driver)).json["events"] == []
    device = await tenant.issue_async("device", "van-9")
    assert len((await client.get("/api/events", token=device)).json["events"]) == 1


async def test_a_token_gives_no_more_scopes_and_no_longer_life_than_it_has(client, tenant):
    async def make(token, path, form):
        return await client.request("POST", path, token=token, body=json.dumps(form).encode(), headers=JSON)

    narrow = await tenant.issue_async("user", "ada", "admin", scopes=["administer", "operate"])
    refused = (403, "scope_exceeded")
    assert (await make(narrow, "/api/tokens", {"kind": "user", "name": "ada"})).refusal == refused
    assert (await make(narrow, "/api/tokens", {"kind": "ingest"})).refusal == refused
    form = {"kind": "user", "name": "ada", "scopes": ["administer", "watch"]}
    assert (await make(narrow, "/api/tokens", form)).refusal == refused
    form = {"name": "eve", "role": "admin", "password": "a long word of no list"}
    assert (await make(narrow, "/api/users", form)).refusal == refused
    change = json.dumps({"password": "a long word of no list"}).encode()
    changed = await client.request("PATCH", "/api/users/ada", token=narrow, body=change, headers=JSON)
    assert changed.refusal == refused
    made = await make(narrow, "/api/tokens", {"kind": "user", "name": "ada", "scopes": ["operate"]})
    assert made.status == 201
    assert (await client.get("/metrics", token=made.json["token"])).status == 200

    short = await tenant.issue_async("user", "ada", "admin", life_secs=3_600)
    refused = (403, "life_exceeded")
    assert (await make(short, "/api/tokens", {"kind": "user", "name": "ada"})).refusal == refused
    form = {"kind": "user", "name": "ada", "life_secs": 7_200}
    assert (await make(short, "/api/tokens", form)).refusal == refused
    assert (await make(short, "/api/tokens", form | {"life_secs": 600})).status == 201
    form = {"name": "eve", "role": "viewer", "password": "a long word of no list"}
    assert (await make(short, "/api/users", form)).refusal == refused


async def test_metrics_are_read_with_operate_alone(client, tenant):
    token = await tenant.issue_async("user", "prometheus", scopes=["operate"])
    for route, needed in NEEDS.items():
        let_in = needed is None or "operate" in needed
        answer = await ask(client, route, token)
        assert (answer.status == 200) if let_in else (answer.refusal == (403, "forbidden")), route
