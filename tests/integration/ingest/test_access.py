"""Who may send: a credential that does not count is refused with its own code, and nothing of its batch is stored."""

import asyncio
import base64
import time

import pytest

from harness.client import LOCATION
from harness.database import execute, rows, stored, stored_times
from harness.fixes import fix

BATCH = {"device": "van", "fixes": [fix()]}


@pytest.fixture(autouse=True)
async def still_serves(client, tenant):
    """After the test a right key still stores."""
    yield
    answer = await client.send({"device": "after", "fixes": [fix()]}, token=tenant.ingest)
    assert answer.receipt == (1, 0, {})


def _basic(token):
    return "Basic " + base64.b64encode(f"{token}:".encode()).decode()


NAMELESS = {
    "no header": (None, "token_missing"),
    "empty bearer": ("Bearer ", "token_missing"),
    "bearer without a token": ("Bearer", "token_missing"),
    "another scheme": ("Basic dmFuOnBhc3M=", "token_missing"),
    "unknown ingest key": ("Bearer fwi_" + "A" * 43, "token_invalid"),
    "unknown user token": ("Bearer fwu_" + "A" * 43, "token_invalid"),
    "a word": ("Bearer secret", "token_invalid"),
    "a JWT with another key": (
        "Bearer eyJhbGciOiJIUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiIxIiwiZXhwIjo5OTk5OTk5OTk5fQ.c2lnbmF0dXJl",
        "token_invalid",
    ),
    "a JWT without a signature": (
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIiwiZXhwIjo5OTk5OTk5OTk5fQ.",
        "token_invalid",
    ),
    "a token of 8,000 characters": ("Bearer fwi_" + "A" * 8_000, "token_invalid"),
    "letters beyond ASCII": ("Bearer fwi_\xe4\xf6\xfc", "token_invalid"),
}


@pytest.mark.parametrize(("header", "code"), NAMELESS.values(), ids=NAMELESS.keys())
async def test_who_shows_no_good_credential_is_unknown(client, header, code):
    answer = await client.send(BATCH, token=None, headers={} if header is None else {"Authorization": header})
    assert answer.refusal == (401, code)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_is_no_key_in_the_address_or_as_a_password(client, tenant):
    for path, headers in [
        (f"{LOCATION}?token={tenant.ingest}", {}),
        (LOCATION, {"Authorization": _basic(tenant.ingest)}),
    ]:
        answer = await client.request("POST", path, body=b"[]", headers=headers)
        assert answer.refusal == (401, "token_missing")


async def test_a_key_with_a_letter_changed_is_unknown(client, tenant):
    swapped = tenant.ingest[:-1] + ("B" if tenant.ingest[-1] == "A" else "A")
    for token in (swapped, tenant.ingest[:-1], tenant.ingest + "A", tenant.ingest.upper()):
        assert (await client.send(BATCH, token=token)).refusal == (401, "token_invalid")
    assert await stored(tenant.dsn, tenant.name) == []


@pytest.mark.parametrize("kind", ["ingest", "device"])
async def test_revoked_token_is_refused_within_a_second(client, tenant, kind):
    token = await tenant.issue_async(kind, "van")
    batch = {"device": "van", "fixes": [fix()]}
    assert (await client.send(batch, token=token)).receipt == (1, 0, {})
    await tenant.revoke(token)
    deadline = time.monotonic() + 1
    while (answer := await client.send(batch, token=token)).status == 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert answer.refusal == (401, "token_revoked")
    late = {"device": "van", "fixes": [fix()]}
    assert (await client.send(late, token=token)).refusal == (401, "token_revoked")
    assert await stored_times(tenant.dsn, tenant.name) == [batch["fixes"][0]["timestamp"]]


async def test_expired_token_is_refused(client, tenant):
    token = await tenant.issue_async("ingest", life_secs=1)
    assert (await client.send({"device": "van", "fixes": [fix()]}, token=token)).receipt == (1, 0, {})
    await asyncio.sleep(1.05)
    assert (await client.send({"device": "van", "fixes": [fix()]}, token=token)).refusal == (401, "token_expired")
    assert len(await stored(tenant.dsn, tenant.name)) == 1


async def test_suspended_tenant_sends_nothing(client, rival):
    await execute(rival.dsn, "UPDATE tenant SET status = 'suspended' WHERE name = $1", rival.name)
    assert (await client.send(BATCH, token=rival.ingest)).refusal == (401, "token_revoked")
    assert await stored(rival.dsn, rival.name) == []


@pytest.mark.parametrize("role", ["admin", "dispatcher", "viewer", "customer", "driver"])
async def test_users_watch_and_do_not_send(client, tenant, role):
    token = await tenant.issue_async("user", f"somebody-{role}", role)
    assert (await client.send(BATCH, token=token)).refusal == (403, "forbidden")
    assert await stored(tenant.dsn, tenant.name) == []


async def test_another_tenant_s_device_is_out_of_reach(client, tenant, rival):
    theirs = fix(latitude=1)
    assert (await client.send({"device": "van", "fixes": [theirs]}, token=rival.ingest)).receipt == (1, 0, {})
    mine = await client.send({"device": "van", "fixes": [theirs | {"latitude": 2}]}, token=tenant.ingest)
    assert mine.receipt == (1, 0, {})  # Not a duplicate: it is a device of one's own.
    assert [row.lat_e7 for row in await stored(rival.dsn, rival.name)] == [10_000_000]
    assert [row.lat_e7 for row in await stored(tenant.dsn, tenant.name)] == [20_000_000]
    track = await client.get("/api/devices/van/track", token=tenant.dispatcher, format="csv", **{"from": "0"})
    assert [line.split(b",")[2] for line in track.body.splitlines()[1:]] == [b"2"]


async def test_refused_batches_create_no_device(client, tenant):
    token = await tenant.issue_async("device", "van")
    await client.send({"device": "ghost", "fixes": [fix()]}, token=token)
    await client.send({"device": "ghost", "fixes": [fix()]}, token=tenant.dispatcher)
    await client.send({"device": "ghost", "fixes": []}, token=tenant.ingest)
    devices = "SELECT device.name FROM device JOIN tenant t USING (tenant_id) WHERE t.name = $1"
    assert [row["name"] for row in await rows(tenant.dsn, devices, tenant.name)] == ["van"]
