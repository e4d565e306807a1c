"""Every type of message on a socket has a limit, and what may not be done is counted by nobody else's."""

import json

import pytest

from fleetwire.fanout.events.event_messages import EventMessage
from harness.fixes import fix
from harness.fixtures import running_server
from harness.process import ROOMY_LIMITS

DISPATCH = "/ws/dispatch"
DRIVER = "/ws"
AT_ONCE = 20
LIMITS = f"{ROOMY_LIMITS}, feed=1/60:{AT_ONCE}, api=1/60:{AT_ONCE}, api_customer=1/60:{AT_ONCE}, ingest=1/60:{AT_ONCE}"
MESSAGES = {
    "event": {"type": "event", "room": "dispatch", "kind": "message", "payload": {"text": "x"}},
    "events": {"type": "events", "rooms": ["dispatch"]},
    "watch": {"type": "watch"},
    "ack": {"type": "ack", "seq": 0},
    "batch": {"type": "batch", "id": 1, "fixes": [fix(1_780_000_000_000)]},
    "heartbeat": {"type": "heartbeat"},
}
SETTINGS = {
    "FLEETWIRE_LIMITS": f"{LIMITS}, ingest_tenant=1/60:{2 * AT_ONCE}",
    "FLEETWIRE_SOCKET_MESSAGES_PER_SEC": "1",
    "FLEETWIRE_SOCKET_MESSAGES_BURST": "100",
    "FLEETWIRE_SOCKET_RATE_VIOLATIONS": "3",
}


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(module_database, SETTINGS)


def test_table_names_every_type_about_events():
    types = {each.__struct_config__.tag for each in EventMessage.__args__}
    assert types <= MESSAGES.keys()


@pytest.mark.parametrize("kind", ["event", "events", "watch"])
async def test_messages_of_a_dispatcher_have_a_limit(client, tenant, kind):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        for _ in range(AT_ONCE + 5):
            await feed.send(MESSAGES[kind])
        errors = []
        while len(errors) < 3:
            frame = await feed.receive()
            errors += [frame] if frame["type"] == "error" else []
    assert {(each["code"], each["status"]) for each in errors} == {("rate_limited", 429)}
    assert all(each["retry_after_secs"] > 0 for each in errors)


@pytest.mark.parametrize("kind", ["event", "events", "batch"])
async def test_messages_of_a_device_have_a_limit(client, tenant, kind):
    device = await tenant.issue_async("device", f"van-{kind}")
    message = MESSAGES[kind] if kind != "events" else {"type": "events", "rooms": [f"driver:van-{kind}"]}
    async with client.socket(DRIVER, token=device) as driver:
        for _ in range(AT_ONCE + 5):
            await driver.send(message)
        errors = []
        while len(errors) < 3:
            frame = await driver.receive()
            errors += [frame] if frame["type"] == "error" else []
    assert {each["code"] for each in errors} == {"rate_limited"}


@pytest.mark.parametrize("kind", ["ack", "heartbeat"])
async def test_messages_that_cost_nothing_have_the_rate_of_the_socket(client, tenant, kind):
    async with client.socket(DISPATCH, token=tenant.dispatcher) as feed:
        for _ in range(110):
            await feed.send(MESSAGES[kind])
        assert await feed.closed() == 4429


async def test_refusals_of_a_customer_leave_the_batches_of_the_tenant_alone(client, tenant):
    """A customer may send no batches: more of them than the tenant has at once are its own requests, and no batches."""
    customer = await tenant.issue_async("user", "carl", "customer")
    batch = {"device": "van", "fixes": [fix()]}
    statuses = [(await client.send(batch, token=customer)).status for _ in range(3 * AT_ONCE)]
    assert statuses == [403] * AT_ONCE + [429] * (2 * AT_ONCE)
    assert (await client.send(batch, token=tenant.ingest)).status == 200
    limits = (await client.get("/api/devices", token=customer)).json
    assert limits["code"] == "rate_limited"
    assert json.dumps(limits)
