"""Events as drivers and dispatchers see them: stored first, told in order, to those whose room it is."""

import asyncio
import json
import secrets

import pytest

from harness.fixes import fix

DISPATCH = "/ws/dispatch"
DRIVER = "/ws"
QUIET_SECS = 0.5
TEXT = 'ä \\ "'


def message(text="hello", **members):
    return {"room": "dispatch", "kind": "message", "payload": {"text": text}, **members}


async def post(client, form, token):
    body = form if isinstance(form, bytes) else json.dumps(form).encode()
    return await client.request("POST", "/api/events", token=token, body=body)


async def publish(client, form, token):
    answer = await post(client, form, token)
    assert answer.status == 201, answer.body
    return answer.json["seq"]


async def next_event(socket):
    """The next event; frames of positions and signs of life are passed over."""
    while True:
        frame = await socket.receive()
        if frame["type"] == "event":
            return frame
        assert frame["type"] in {"snapshot", "moved", "heartbeat"}, frame


async def join(socket, *rooms, after=None):
    """Joins rooms and returns the server's confirmation."""
    await socket.send({"type": "events", "rooms": list(rooms)} | ({} if after is None else {"after": after}))
    while (frame := await socket.receive())["type"] != "joined":
        assert frame["type"] in {"snapshot", "moved", "event"}, frame
    return frame


async def listens(client, tenant, socket, room):
    """Returns when a socket that has asked for nothing hears its room: from when on is not told, so it is tried."""
    first = await publish(client, message("first", room=room), tenant.dispatcher)
    last = None
    while last is None:
        last = await publish(client, message("again", room=room), tenant.dispatcher)
        try:
            event = await asyncio.wait_for(next_event(socket), 1.0)
        except TimeoutError:
            last = None
            continue
        while event["seq"] < last:
            event = await next_event(socket)
    assert first < last


async def falls_silent(client, tenant, socket, room):
    """Returns when a socket does not hear a room any more: workers are told of that by the database."""
    async with asyncio.timeout(20):
        while True:
            await publish(client, message("not for you", room=room), tenant.dispatcher)
            try:
                await asyncio.wait_for(next_event(socket), QUIET_SECS)
            except TimeoutError:
                return


async def no_event(socket):
    while True:
        try:
            frame = await socket.receive(within_secs=QUIET_SECS)
        except TimeoutError:
            return
        assert frame["type"] != "event", frame


@pytest.fixture
async def van(tenant):
    return await tenant.issue_async("device", "van")


async def test_event_is_stored_and_told_with_everything_in_it(client, tenant):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        await join(feed, "dispatch")
        form = message('ä \\ "', client_id="c-1", occurred_at=1_763_768_400_000)
        answer = await post(client, form, tenant.dispatcher)
        assert (answer.status, answer.json["seq"]) == (201, 1)
        event = await next_event(feed)
    assert event == {
        "type": "event", "seq": 1, "room": "dispatch", "kind": "message", "payload": {"text": TEXT},
        "actor": "user:dora", "occurred_at": 1_763_768_400_000, "recorded_at": answer.json["recorded_at"],
    }  # fmt: skip
    page = (await client.get("/api/events", token=tenant.dispatcher)).json
    assert page == {"events": [event], "newest": 1, "gap": False}


async def test_whoever_asks_for_nothing_is_in_the_room_of_its_kind(client, tenant, van):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed, client.socket(DRIVER, token=van) as driver:
        await asyncio.gather(listens(client, tenant, feed, "dispatch"), listens(client, tenant, driver, "driver:van"))
        await publish(client, message("to all"), tenant.dispatcher)
        assert (await next_event(feed))["payload"] == {"text": "to all"}
        await publish(client, message("to the van", room="driver:van"), tenant.dispatcher)
        await publish(client, message("to another", room="driver:bus"), tenant.dispatcher)
        assert (await driver.receive_type("event"))["payload"] == {"text": "to the van"}
        await driver.silent(for_secs=QUIET_SECS)
        await no_event(feed)


async def test_many_at_once_come_without_a_gap_and_in_one_order(client, tenant):
    """Publishers race; every watcher sees the same numbers, one after the other, in all rooms and in each."""
    rooms = ["dispatch", "driver:van", "order:7"]
    async with (
        client.socket(DISPATCH, token=tenant.dispatcher) as every,
        client.socket(DISPATCH, token=tenant.dispatcher) as one,
    ):
        await join(every, "*")
        await join(one, "order:7")
        seqs = await asyncio.gather(
            *(publish(client, message(str(number), room=rooms[number % 3]), tenant.dispatcher) for number in range(90))
        )
        assert sorted(seqs) == list(range(1, 91))
        told = [await next_event(every) for _ in range(90)]
        assert [event["seq"] for event in told] == list(range(1, 91))
        of_one = [await next_event(one) for _ in range(30)]
        assert of_one == [event for event in told if event["room"] == "order:7"]


async def test_the_same_client_id_is_one_event_however_often_it_comes(client, tenant):
    form = message(client_id=secrets.token_hex(8))
    answers = await asyncio.gather(*(post(client, form, tenant.dispatcher) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert {answer.json["seq"] for answer in answers} == {1}
    assert await publish(client, message(), tenant.dispatcher) == 2, "what was given back leaves no gap"


async def test_another_actor_s_client_id_tells_nothing(client, tenant, van):
    form = message(client_id="mine")
    assert await publish(client, form, tenant.dispatcher) == 1
    assert await publish(client, form, van) == 2


async def test_driver_publishes_over_its_socket(client, tenant, van):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed, client.socket(DRIVER, token=van) as driver:
        await join(feed, "dispatch")
        sos = {"emergency": "sos", "latitude": 48.1, "longitude": 11.5}
        up = {"type": "event", "id": 7, "room": "dispatch", "kind": "emergency", "payload": sos, "client_id": "e-1"}
        for _ in range(2):
            await driver.send(up)
            assert await driver.receive() == {"type": "event_stored", "id": "7", "seq": 1}
        event = await next_event(feed)
        assert (event["kind"], event["actor"]) == ("emergency", "driver:van")
        assert event["payload"] == sos
        await no_event(feed)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"kind": "dance"}, 400, "event_kind"),
        ({"payload": {}}, 400, "event_payload"),
        ({"payload": {"text": ""}}, 400, "event_payload"),
        ({"payload": {"text": "x", "more": 1}}, 400, "event_payload"),
        ({"payload": {"text": "a\0b"}}, 400, "event_payload"),
        ({"payload": {"text": "x" * 4_001}}, 400, "event_payload"),
        ({"kind": "status", "payload": {"entity": "planet", "id": "1", "status": "x"}}, 400, "event_payload"),
        ({"kind": "emergency", "payload": {"emergency": "sos", "latitude": 91}}, 400, "event_payload"),
        ({"room": "kitchen"}, 400, "room_invalid"),
        ({"room": "driver:"}, 400, "room_invalid"),
        ({"room": "*"}, 400, "room_invalid"),
        ({"room": "order:a\nb"}, 400, "room_invalid"),
        ({"occurred_at": 4_000_000_000_000}, 400, "time_invalid"),
        ({"occurred_at": 5}, 400, "time_invalid"),
        ({"client_id": ""}, 400, "request_invalid"),
        ({"surprise": 1}, 400, "request_invalid"),
        (b"{", 400, "request_invalid"),
        (b"[" * 10_000, 400, "request_invalid"),
        (b" " * 70_000, 413, "body_too_large"),
    ],
)
async def test_event_that_does_not_fit_is_refused_by_name(client, tenant, change, status, code):
    form = change if isinstance(change, bytes) else message() | change
    assert (await post(client, form, tenant.dispatcher)).refusal == (status, code)
    assert (await client.get("/api/events", token=tenant.dispatcher)).json["newest"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "after=9223372036854775808", "after=-1", "after=x", "limit=0", "limit=201", "room=", "room=driver:%00",
        "room=driver:" + "x" * 256, "room=attic",
    ],
)  # fmt: skip
async def test_page_that_cannot_be_is_refused(client, tenant, query):
    answer = await client.request("GET", f"/api/events?{query}", token=tenant.dispatcher)
    assert answer.refusal in {(400, "request_invalid"), (400, "room_invalid")}


@pytest.mark.parametrize("text", [r"\ud800", r"\udc00x", "\ufeff\u2028"])
async def test_text_that_some_cannot_write_harms_nothing(client, tenant, text):
    """Half of a pair of surrogates has no place in a text; the rest of Unicode has."""
    for form in (
        '{"room":"dispatch","kind":"message","payload":{"text":"%s"}}',
        '{"room":"order:%s","kind":"message"}',
    ):
        answer = await post(client, (form % text).encode(), tenant.dispatcher)
        assert answer.status in {201, 400}, answer.body
    form = '{"room":"dispatch","kind":"message","payload":{"text":"x"},"client_id":"%s"}' % text  # noqa: UP031
    assert (await post(client, form.encode(), tenant.dispatcher)).status in {201, 400}
    answer = await client.request("GET", "/api/events?room=driver:%ff%fe", token=tenant.dispatcher)
    assert answer.status in {200, 400}


async def test_who_may_say_what_where(client, tenant, van):
    viewer = await tenant.issue_async("user", "vera", "viewer")
    assignment = {"kind": "assignment", "payload": {"order": "7", "state": "assigned"}}
    for form, token, refusal in [
        (message(), viewer, (403, "forbidden")),
        (message(), tenant.ingest, (403, "forbidden")),
        (message() | assignment, van, (403, "kind_forbidden")),
        (message(room="driver:bus"), van, (403, "room_forbidden")),
        (message(room="order:7"), van, (403, "room_forbidden")),
        (message(room="driver:van"), van, None),
    ]:
        answer = await post(client, form, token)
        assert (answer.refusal if refusal else answer.status) == (refusal or 201), form
    assert (await client.get("/api/events", token=viewer)).refusal == (403, "forbidden")
    assert (await client.get("/api/events", token=van, room="dispatch")).refusal == (403, "room_forbidden")
    assert (await client.get("/api/events", token=van, room="*")).refusal == (403, "room_forbidden")
    assert [event["room"] for event in (await client.get("/api/events", token=van)).json["events"]] == ["driver:van"]


async def test_room_of_an_order_is_open_to_its_driver_as_long_as_it_is_its(client, tenant, van):
    async with client.socket(DRIVER, token=van) as driver:
        await join(driver, "driver:van")
        await driver.send({"type": "events", "rooms": ["order:7"]})
        assert (await driver.receive_type("error"))["code"] == "room_forbidden"

        async def assign(state):
            payload = {"order": "7", "state": state}
            form = {"room": "driver:van", "kind": "assignment", "payload": payload}
            await publish(client, form, tenant.dispatcher)
            assert (await driver.receive_type("event"))["payload"] == payload

        await assign("assigned")
        assert (await join(driver, "order:7"))["rooms"] == ["order:7", "driver:van"]
        await publish(client, message("the gate code is 5", room="order:7"), tenant.dispatcher)
        assert (await driver.receive_type("event"))["room"] == "order:7"
        assert await publish(client, message("here", room="order:7"), van)
        assert (await driver.receive_type("event"))["actor"] == "driver:van"
        await assign("withdrawn")
        await publish(client, message("not for you", room="order:7"), tenant.dispatcher)
        await driver.silent(for_secs=QUIET_SECS)
        await driver.send({"type": "events", "rooms": ["order:7"]})
        assert (await driver.receive_type("error"))["code"] == "room_forbidden"


async def test_room_of_an_order_follows_its_devices(client, tenant, van):
    """Both ways of giving an order to a device come to the same, for its driver and for who watches the order."""
    path = "/api/orders/7/devices"

    async def put(*devices):
        body = json.dumps({"devices": devices}).encode()
        assert (await client.request("PUT", path, token=tenant.dispatcher, body=body)).status == 204

    async def assign(state):
        form = {"room": "driver:van", "kind": "assignment", "payload": {"order": "7", "state": state}}
        await publish(client, form, tenant.dispatcher)

    await client.send({"fixes": [fix()]}, token=van)
    async with (
        client.socket(DRIVER, token=van) as driver,
        client.socket(DISPATCH, token=tenant.dispatcher) as feed,
    ):
        await feed.send({"type": "watch", "orders": ["7"]})
        assert (await feed.receive_type("snapshot"))["positions"] == []
        await join(driver, "driver:van")
        await driver.send({"type": "events", "rooms": ["order:7"]})
        assert (await driver.receive_type("error"))["code"] == "room_forbidden"
        await put("van")
        assert [each["device"] for each in (await feed.receive_type("moved"))["positions"]] == ["van"]
        assert (await join(driver, "order:7"))["rooms"] == ["order:7", "driver:van"]
        await publish(client, message("the gate code is 5", room="order:7"), tenant.dispatcher)
        assert (await driver.receive_type("event"))["room"] == "order:7"
        await put()
        assert (await feed.receive_type("moved"))["left"] == ["van"]
        await falls_silent(client, tenant, driver, "order:7")
        await assign("assigned")
        assert [each["device"] for each in (await feed.receive_type("moved"))["positions"]] == ["van"]
        await assign("withdrawn")
        assert (await feed.receive_type("moved"))["left"] == ["van"]


async def test_order_given_back_is_not_lost_by_hearing_again_that_it_was_withdrawn(client, tenant, van):
    for state in ("assigned", "withdrawn", "assigned"):
        form = {"room": "driver:van", "kind": "assignment", "payload": {"order": "7", "state": state}}
        await publish(client, form, tenant.dispatcher)
    async with client.socket(DRIVER, token=van) as driver:
        await join(driver, "order:7", after=0)
        for _ in range(3):
            await driver.receive_type("event")
        await publish(client, message("the gate code is 5", room="order:7"), tenant.dispatcher)
        assert (await driver.receive_type("event"))["room"] == "order:7"


async def test_another_tenant_hears_and_reads_nothing(client, tenant, rival):
    rival_van = await rival.issue_async("device", "van")
    async with (
        client.socket(DISPATCH, token=rival.dispatcher) as feed,
        client.socket(DRIVER, token=rival_van) as driver,
    ):
        await join(feed, "*", after=0)
        for room in ("dispatch", "driver:van", "order:7"):
            await publish(client, message(room=room), tenant.dispatcher)
        await driver.silent(for_secs=QUIET_SECS)
        await no_event(feed)
    assert (await client.get("/api/events", token=rival.dispatcher)).json["events"] == []


async def test_viewer_sees_positions_and_no_events(client, tenant):
    viewer = await tenant.issue_async("user", "vera", "viewer")
    async with client.socket(DISPATCH, token=viewer) as feed:
        await feed.send({"type": "events", "rooms": ["dispatch"]})
        assert (await feed.receive_type("error"))["code"] == "forbidden"
        await publish(client, message(), tenant.dispatcher)
        await feed.receive_type("snapshot")
        await no_event(feed)


async def test_after_a_cut_everything_behind_the_last_seen_comes(client, tenant):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        await join(feed, "dispatch")
        for number in range(3):
            await publish(client, message(str(number)), tenant.dispatcher)
        seen = [(await next_event(feed))["seq"] for _ in range(2)]
        await feed.send({"type": "ack", "seq": seen[-1]})
        feed.raw._response.connection.transport.abort()
    await publish(client, message("meanwhile"), tenant.dispatcher)
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        joined = await join(feed, "dispatch", after=seen[-1])
        assert joined == {"type": "joined", "rooms": ["dispatch"], "after": 2, "gap": False}
        assert [(await next_event(feed))["seq"] for _ in range(2)] == [3, 4]
        await no_event(feed)


async def test_watcher_far_behind_reads_the_store_page_by_page(client, tenant):
    for start in range(0, 700, 50):
        await asyncio.gather(
            *(
                publish(client, message(room="dispatch" if number % 2 else "order:1"), tenant.dispatcher)
                for number in range(start, start + 50)
            )
        )
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        await join(feed, "dispatch", after=0)
        acked = []
        for number in range(350):
            acked.append((await next_event(feed))["seq"])
            if number % 50 == 0:
                await feed.send({"type": "ack", "seq": acked[-1]})
        assert acked == sorted(set(acked))
        await publish(client, message("now"), tenant.dispatcher)
        assert (await next_event(feed))["seq"] == 701
    first = (await client.get("/api/events", token=tenant.dispatcher, room="dispatch", limit="200")).json["events"]
    rest = (
        await client.get(
            "/api/events", token=tenant.dispatcher, room="dispatch", limit="200", after=str(first[-1]["seq"])
        )
    ).json["events"]
    assert [event["seq"] for event in first + rest] == [*acked, 701]


async def test_number_from_another_life_is_a_gap_and_not_a_silence(client, tenant):
    await publish(client, message(), tenant.dispatcher)
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        assert await join(feed, "dispatch", after=99) == {
            "type": "joined", "rooms": ["dispatch"], "after": 1, "gap": True,
        }  # fmt: skip
        assert await publish(client, message(), tenant.dispatcher) == 2
        assert (await next_event(feed))["seq"] == 2


async def test_window_holds_back_what_is_not_acknowledged(client, tenant):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        await join(feed, "dispatch")
        for start in range(0, 260, 52):
            await asyncio.gather(*(publish(client, message(str(start)), tenant.dispatcher) for _ in range(52)))
        told = [(await next_event(feed))["seq"] for _ in range(256)]
        assert told == list(range(1, 257))
        await no_event(feed)
        await feed.send({"type": "ack", "seq": 2})
        assert [(await next_event(feed))["seq"] for _ in range(2)] == [257, 258]
        await no_event(feed)
        await feed.send({"type": "ack", "seq": 258})
        assert [(await next_event(feed))["seq"] for _ in range(2)] == [259, 260]


async def test_room_may_be_changed_on_the_way_without_losing_one(client, tenant):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        await join(feed, "dispatch")
        await publish(client, message("1"), tenant.dispatcher)
        assert (await next_event(feed))["seq"] == 1
        await join(feed, "dispatch", "order:9")
        await publish(client, message("2", room="order:9"), tenant.dispatcher)
        await publish(client, message("3"), tenant.dispatcher)
        assert [(await next_event(feed))["seq"] for _ in range(2)] == [2, 3]
        await join(feed, "order:9")
        await publish(client, message("4"), tenant.dispatcher)
        await publish(client, message("5", room="order:9"), tenant.dispatcher)
        assert (await next_event(feed))["seq"] == 5


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"type": "events"}, "message_invalid"),
        ({"type": "events", "rooms": []}, "message_invalid"),
        ({"type": "events", "rooms": ["dispatch"], "after": -1}, "message_invalid"),
        ({"type": "events", "rooms": ["attic"]}, "room_invalid"),
        ({"type": "ack", "seq": "x"}, "message_invalid"),
        ({"type": "event", "room": "dispatch"}, "message_invalid"),
        ({"type": "event", "room": "dispatch", "kind": "x", "payload": {}, "id": "n"}, "event_kind"),
        (
            {"type": "event", "room": "dispatch", "kind": "message", "payload": {"text": "x" * 70_000}},
            "message_invalid",
        ),
    ],
)
@pytest.mark.parametrize("path", [DRIVER, DISPATCH])
async def test_message_about_events_that_does_not_fit_is_answered(client, tenant, van, path, sent, code):
    async with client.socket(path, token=van if path == DRIVER else tenant.dispatcher) as socket:
        await socket.send(sent)
        error = await socket.receive_type("error")
        assert (error["code"], error.get("id")) == (code, sent.get("id"))
        await join(socket, "driver:van" if path == DRIVER else "dispatch")
        await publish(client, message(room="driver:van" if path == DRIVER else "dispatch"), tenant.dispatcher)
        assert (await next_event(socket))["seq"] == 1
