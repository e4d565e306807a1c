"""Users change their own password; admins that of others."""

import asyncio
import json

import pytest

from harness.routes import JSON
from harness.tenants import PASSWORD

NEW = "a wet stone by the river"


@pytest.fixture
async def sam(tenant):
    await asyncio.to_thread(tenant.user, "sam", "viewer")


async def change(client, token, old, new):
    body = json.dumps({"old_password": old, "new_password": new}).encode()
    return await client.request("POST", "/api/password", token=token, body=body, headers=JSON)


async def test_a_user_changes_the_password_with_the_old_one_and_the_other_sessions_end(client, tenant, sam):
    here, there = [(await client.login(tenant.name, "sam", PASSWORD)).json["token"] for _ in range(2)]
    async with client.socket("/ws/dispatch", token=there) as feed:
        await feed.receive_type("snapshot")
        assert (await change(client, here, PASSWORD, NEW)).status == 204
        assert await feed.closed() == 4401
    assert (await client.get("/api/live", token=here)).status == 200
    assert (await client.get("/api/live", token=there)).refusal == (401, "token_revoked")
    assert (await client.login(tenant.name, "sam", PASSWORD)).refusal == (401, "login_failed")
    assert (await client.login(tenant.name, "sam", NEW)).status == 200
    noted = (await client.get("/api/audit", token=await tenant.issue_async("user", "ada", "admin"))).json["entries"]
    assert [entry["action"] for entry in noted if entry["actor"] == "sam"] == ["user.change"]


async def test_a_change_without_the_old_password_or_to_a_poor_one_is_refused(client, tenant, sam):
    token = (await client.login(tenant.name, "sam", PASSWORD)).json["token"]
    assert (await change(client, token, "not the old password", NEW)).refusal == (403, "password_wrong")
    assert (await change(client, token, PASSWORD, "short")).refusal == (400, "password_short")
    assert (await change(client, token, PASSWORD, "123456789012")).refusal == (400, "password_common")
    assert (await client.login(tenant.name, "sam", PASSWORD)).status == 200


async def test_a_token_changes_no_password_and_guesses_of_the_old_one_are_limited(client, tenant, sam):
    lasting = await tenant.issue_async("user", "sam")
    assert (await change(client, lasting, PASSWORD, NEW)).refusal == (403, "session_needed")
    token = (await client.login(tenant.name, "sam", PASSWORD)).json["token"]
    answers = [await change(client, token, f"guess {number}", NEW) for number in range(10)]
    assert answers[0].refusal == (403, "password_wrong")
    assert answers[-1].refusal == (429, "login_rate")


async def test_an_admin_changes_the_password_of_others_and_not_its_own_without_the_old_one(client, tenant, sam):
    admin = await tenant.issue_async("user", "ada", "admin")
    body = json.dumps({"password": NEW}).encode()
    changed = await client.request("PATCH", "/api/users/sam", token=admin, body=body, headers=JSON)
    assert changed.status == 200
    own = await client.request("PATCH", "/api/users/ada", token=admin, body=body, headers=JSON)
    assert own.refusal == (403, "password_own")
