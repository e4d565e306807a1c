"""Frames of a running server against what `/asyncapi.json` says of them, member by member."""

import copy
import json

import jsonschema
import pytest

from harness.fixes import fix
from harness.fixtures import running_server

EVENT = {"room": "dispatch", "kind": "emergency", "payload": {"emergency": "sos"}}


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(
        module_database, {"FLEETWIRE_FEED_HEARTBEAT_SECS": "1", "FLEETWIRE_UNAUTHENTICATED_SOCKETS": "2"}
    )


def closed(schema):
    """The same schema, refusing members that it does not name."""
    schema = copy.deepcopy(schema)
    parts = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if part.get("type") == "object" and "properties" in part:
                part["additionalProperties"] = False
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return schema


class Described:
    """One channel's messages in one direction, by type."""

    def __init__(self, document, operation):
        self._schemas = closed(document["components"]["schemas"])
        messages = document["components"]["messages"]
        names = [reference["$ref"].rpartition("/")[2] for reference in document["operations"][operation]["messages"]]
        self._names = {(messages[name]["name"], self._has_columns(name)): name for name in names}
        self.seen = set()

    def check(self, frame):
        """The frame is of a described type and has its shape."""
        name = self._names[frame["type"], "columns" in frame]
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": self._schemas}}
        jsonschema.validate(frame, schema, cls=jsonschema.Draft202012Validator)
        self.seen.add(name)
        return frame

    def _has_columns(self, name):
        return "columns" in self._schemas[name]["properties"]

    @property
    def types(self):
        return set(self._names.values())


async def test_document_is_shown_to_anybody_and_linked(client):
    answer = await client.get("/asyncapi.json")
    assert (answer.status, answer.json["asyncapi"]) == (200, "3.0.0")
    assert "/asyncapi.json" in (await client.get("/openapi.json")).json["info"]["description"]


async def test_frames_are_as_described(client, tenant):
    document = (await client.get("/asyncapi.json")).json
    up = {
        path: Described(document, f"receiveOn{name}")
        for path, name in (("/ws", "Driver"), ("/ws/dispatch", "Dispatch"))
    }
    down = {
        path: Described(document, f"sendOn{name}") for path, name in (("/ws", "Driver"), ("/ws/dispatch", "Dispatch"))
    }
    token = {"/ws": await tenant.issue_async("device", "van"), "/ws/dispatch": tenant.dispatcher}

    async def say(socket, path, message):
        await socket.send(up[path].check({**message}))

    async def hear(socket, path, kind):
        while (frame := down[path].check(await socket.receive()))["type"] != kind:
            pass
        return frame

    rows = {"Sec-WebSocket-Protocol": "fleetwire.v1.rows"}
    async with (
        client.socket("/ws") as driver,
        client.socket("/ws/dispatch") as feed,
        client.socket("/ws/dispatch", token=tenant.dispatcher, headers=rows) as compact,
    ):
        for socket, path in ((driver, "/ws"), (feed, "/ws/dispatch")):
            await say(socket, path, {"type": "auth", "token": token[path]})
            await hear(socket, path, "authenticated")
            await say(socket, path, {"type": "heartbeat"})
        await say(compact, "/ws/dispatch", {"type": "watch"})
        await hear(compact, "/ws/dispatch", "snapshot")
        full = fix(accuracy=5, altitude=519, heading=271, speed=13.4, battery=0.8)
        await say(driver, "/ws", {"type": "batch", "id": 7, "fixes": [full, fix(latitude=48.2), full]})
        await hear(driver, "/ws", "receipt")
        await hear(compact, "/ws/dispatch", "moved")
        await driver.send({"type": "batch", "id": "bad", "fixes": [fix(latitude=91)]})
        assert (await hear(driver, "/ws", "receipt"))["rejected"]
        await driver.send({"type": "batch", "id": "worse"})
        await hear(driver, "/ws", "error")
        await say(feed, "/ws/dispatch", {"type": "watch", "area": [-180, -90, 180, 90], "status": "moving"})
        await hear(feed, "/ws/dispatch", "snapshot")
        await say(feed, "/ws/dispatch", {"type": "watch"})
        epoch = (await hear(feed, "/ws/dispatch", "snapshot"))["epoch"]
        await say(driver, "/ws", {"type": "batch", "id": "8", "fixes": [fix()]})
        await hear(driver, "/ws", "receipt")
        seq = (await hear(feed, "/ws/dispatch", "moved"))["seq"]
        await say(feed, "/ws/dispatch", {"type": "resume", "epoch": epoch[::-1] + "x", "seq": seq})
        await hear(feed, "/ws/dispatch", "resync")
        for socket, path, room in ((driver, "/ws", "driver:van"), (feed, "/ws/dispatch", "dispatch")):
            await say(socket, path, {"type": "events", "rooms": [room], "after": 0})
            await hear(socket, path, "joined")
            await say(socket, path, {"type": "event", "id": 5, "client_id": "c", **EVENT, "room": room})
            stored = await hear(socket, path, "event_stored")
            event = await hear(socket, path, "event") if "Event" not in down[path].seen else {"seq": stored["seq"]}
            await say(socket, path, {"type": "ack", "seq": event["seq"]})
            await hear(socket, path, "heartbeat")
        await feed.send({"type": "dance"})
        await hear(feed, "/ws/dispatch", "error")
    for described in (*down.values(), *up.values()):
        assert described.seen == described.types
    page = (await client.get("/api/events", token=tenant.dispatcher, room="*")).json
    for event in page["events"]:
        down["/ws"].check(json.loads(json.dumps(event)))
