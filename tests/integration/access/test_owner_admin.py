"""What an operator's commands do in the database."""

import asyncpg
import pytest

from fleetwire.access.accounts import owner_admin
from fleetwire.access.identity.api_tokens import generate_token, hash_token
from fleetwire.errors import Problem


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def code(awaitable):
    with pytest.raises(Problem) as refused:
        await awaitable
    return refused.value.code


async def test_a_tenant_is_created_once(owner):
    assert await owner_admin.ensure_tenant(owner, "acme") == await owner_admin.ensure_tenant(owner, "acme")


async def test_only_the_sha256_of_a_token_is_stored(owner):
    token = await owner_admin.issue_token(owner, "acme", "ingest", "gateway")
    row = await owner.fetchrow("SELECT * FROM credential")
    assert row["token_hash"] == hash_token(token)
    assert token[4:] not in str(dict(row))


async def test_a_user_keeps_its_role_when_a_token_is_issued(owner):
    await owner_admin.issue_token(owner, "acme", "user", "vera", "viewer")
    await owner_admin.issue_token(owner, "acme", "user", "vera")
    assert await code(owner_admin.issue_token(owner, "acme", "user", "vera", "admin")) == "role_differs"
    assert await owner.fetchval("SELECT role FROM app_user") == "viewer"
    assert await owner.fetchval("SELECT count(*) FROM credential") == 2


async def test_a_new_user_is_a_dispatcher_unless_told_otherwise(owner):
    await owner_admin.issue_token(owner, "acme", "user", "dora")
    assert await owner.fetchrow("SELECT role, password_hash FROM app_user") == ("dispatcher", None)


@pytest.mark.parametrize(
    ("arguments", "refused_as"),
    [
        (("acme", "device", None), "name_invalid"),
        (("acme", "device", ""), "name_invalid"),
        (("acme", "device", "a" * 256), "name_invalid"),
        (("acme", "device", "a\0b"), "name_invalid"),
        (("acme", "user", " dora"), "name_invalid"),
        (("", "ingest", None), "name_invalid"),
        (("acme", "user", "dora", "owner"), "role_unknown"),
        (("acme", "ingest", None, "admin"), "role_unknown"),
    ],
)
async def test_what_cannot_be_issued_is_refused_and_leaves_nothing(owner, arguments, refused_as):
    assert await code(owner_admin.issue_token(owner, *arguments)) == refused_as
    assert await owner.fetchval("SELECT count(*) FROM tenant") == 0


@pytest.mark.parametrize("life_secs", [0, -1, 10**10])
async def test_a_token_has_a_life_of_some_sense(owner, life_secs):
    assert await code(owner_admin.issue_token(owner, "acme", "ingest", life_secs=life_secs)) == "life_invalid"


async def test_a_device_beyond_the_tenants_limit_is_refused(owner):
    await owner_admin.issue_token(owner, "acme", "device", "truck-1")
    await owner.execute("UPDATE tenant SET device_limit = 1")
    assert await code(owner_admin.issue_token(owner, "acme", "device", "truck-2")) == "device_limit"
    await owner_admin.issue_token(owner, "acme", "device", "truck-1")


async def test_a_user_is_created_once_and_with_a_password_of_the_rule(owner):
    assert await code(owner_admin.create_user(owner, "acme", "dora", "short", "dispatcher")) == "password_short"
    assert await owner_admin.create_user(owner, "acme", "dora", "correct horse battery", "dispatcher") > 0
    assert (
        await code(owner_admin.create_user(owner, "acme", "dora", "correct horse battery", "dispatcher"))
        == "user_exists"
    )
    assert (
        await code(owner_admin.create_user(owner, "acme", "emil", "correct horse battery", "owner")) == "role_unknown"
    )
    assert (await owner.fetchval("SELECT password_hash FROM app_user")).startswith("$argon2id$")


async def test_a_password_is_set_for_a_user_who_exists(owner):
    assert await code(owner_admin.set_password(owner, "acme", "dora", "correct horse battery")) == "user_unknown"
    await owner_admin.issue_token(owner, "acme", "user", "dora")
    assert await code(owner_admin.set_password(owner, "acme", "dora", "short")) == "password_short"
    await owner_admin.set_password(owner, "acme", "dora", "correct horse battery")
    assert await owner.fetchval("SELECT password_hash FROM app_user") is not None


async def test_the_list_shows_everything_but_the_token(owner):
    revoked = await owner_admin.issue_token(owner, "acme", "ingest", "old gateway")
    await owner_admin.issue_token(owner, "acme", "device", "truck-7", life_secs=60)
    await owner_admin.issue_token(owner, "acme", "user", "dora", "admin")
    await owner_admin.issue_token(owner, "other", "ingest")
    await owner_admin.revoke_token(owner, revoked)
    user, device, ingest = await owner_admin.list_credentials(owner, "acme")
    assert (user.kind, user.user, user.role) == ("user", "dora", "admin")
    assert (device.device, device.role, device.expires_at is None) == ("truck-7", "device", False)
    assert (ingest.label, ingest.role, ingest.revoked_at is None) == ("old gateway", "ingest", False)
    assert await code(owner_admin.list_credentials(owner, "nobody")) == "tenant_unknown"


@pytest.mark.parametrize(
    "credential",
    [generate_token("ingest"), "fwi_short", "", 4711, 10**30],
    ids=["well formed", "short", "empty", "a number", "a large number"],
)
async def test_what_does_not_exist_cannot_be_revoked(owner, credential):
    assert await code(owner_admin.revoke_token(owner, credential)) == "token_unknown"
