"""Opaque tokens against a real PostgreSQL: who they belong to, how often it is asked, and how they end."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from fleetwire.access.accounts import owner_admin
from fleetwire.access.accounts.signing_keys import SigningKeys
from fleetwire.access.auth import open_auth
from fleetwire.access.identity.api_tokens import generate_token, hash_token
from fleetwire.access.identity.authenticator import LOOKUPS_WAITING, Authenticator
from fleetwire.access.identity.last_used import LastUsedRecorder
from fleetwire.errors import Problem
from fleetwire.postgres.listener import APPLICATION_NAME, Listener
from fleetwire.postgres.pool import open_pool, tenant_transaction
from fleetwire.runtime import clock
from fleetwire.telemetry import metrics


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def pool(database):
    async with await open_pool(database, "fleetwire_app", 1, 4) as opened:
        yield opened


@asynccontextmanager
async def listening_gate(dsn, pool):
    """A gate that hears, and its listener."""
    listener = Listener(dsn)
    opened = open_auth(pool, listener)
    await listener.start()
    yield opened, listener
    await listener.stop()
    await opened.close()


@pytest.fixture
async def listening(database, pool):
    async with listening_gate(database, pool) as both:
        yield both


@pytest.fixture
def gate(listening):
    return listening[0]


class Clock:
    """Wall time that a test moves."""

    def __init__(self):
        self.ahead_millis = 0

    def __call__(self):
        return clock.now_millis() + self.ahead_millis


@pytest.fixture
def wall():
    return Clock()


@pytest.fixture
async def credentials(pool, wall):
    """A worker that hears nothing."""
    return Authenticator(pool, SigningKeys(pool, keep_retired_secs=7200), LastUsedRecorder(pool), now_millis=wall)


async def refusal(credentials, token):
    with pytest.raises(Problem) as refused:
        await credentials.principal(token)
    return refused.value.status, refused.value.code


async def outcome(credentials, token):
    try:
        return await credentials.principal(token)
    except Problem as problem:
        return problem.status, problem.code


async def until(condition, within_secs=1.0):
    async with asyncio.timeout(within_secs):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_ingest_key_speaks_for_its_tenant(owner, credentials):
    asker = await credentials.principal(await owner_admin.issue_token(owner, "acme", "ingest"))
    assert (asker.kind, asker.role, asker.tenant, asker.device_id, asker.user_id) == (
        "ingest",
        "ingest",
        "acme",
        None,
        None,
    )
    assert asker.tenant_id == await owner.fetchval("SELECT tenant_id FROM tenant WHERE name = 'acme'")
    assert asker.may_ingest()
    assert not asker.may_watch()


async def test_a_device_token_speaks_for_one_device_that_it_creates(owner, credentials):
    first = await credentials.principal(await owner_admin.issue_token(owner, "acme", "device", "truck-7"))
    second = await credentials.principal(await owner_admin.issue_token(owner, "acme", "device", "truck-7"))
    assert (first.kind, first.role, first.device, first.user) == ("device", "device", "truck-7", None)
    assert first.device_id == second.device_id
    assert first.may_ingest()
    assert not first.may_watch()
    assert await owner.fetchval("SELECT count(*) FROM live_position WHERE device_id = $1", first.device_id) == 1


async def test_a_user_token_has_the_users_role(owner, credentials):
    token = await owner_admin.issue_token(owner, "acme", "user", "vera", "viewer")
    asker = await credentials.principal(token)
    assert (asker.kind, asker.role, asker.user, asker.session_id) == ("user", "viewer", "vera", None)
    assert asker.may_watch()
    assert not asker.may_ingest()


async def test_devices_of_the_same_name_in_two_tenants_are_two(owner, credentials):
    ours = await credentials.principal(await owner_admin.issue_token(owner, "acme", "device", "truck-7"))
    theirs = await credentials.principal(await owner_admin.issue_token(owner, "other", "device", "truck-7"))
    assert ours.tenant_id != theirs.tenant_id
    assert ours.device_id != theirs.device_id


async def test_a_tenants_transaction_sees_no_credential_of_another(owner, pool, credentials):
    ours = await credentials.principal(await owner_admin.issue_token(owner, "acme", "ingest"))
    await owner_admin.issue_token(owner, "other", "ingest")
    async with tenant_transaction(pool, ours.tenant_id) as connection:
        assert await connection.fetch("SELECT DISTINCT tenant_id FROM credential") == [(ours.tenant_id,)]
    assert await pool.fetch("SELECT 1 FROM credential") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.fetch("SELECT secret FROM signing_key")


async def test_a_token_is_looked_up_once_a_minute(owner, credentials, wall):
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    for _ in range(3):
        await credentials.principal(token)
    assert credentials.lookup.queries == 1
    wall.ahead_millis = 60_001
    await credentials.principal(token)
    assert credentials.lookup.queries == 2


async def test_a_thousand_requests_with_one_cold_token_make_one_query(owner, credentials):
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    askers = await asyncio.gather(*(credentials.principal(token) for _ in range(1_000)))
    assert len(askers) == 1_000
    assert credentials.lookup.queries == 1


async def test_a_caller_who_goes_away_does_not_take_the_answer_along(owner, credentials):
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    gone, stays = (asyncio.ensure_future(credentials.principal(token)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays).tenant == "acme"


async def test_a_wrong_token_asks_the_database_once_a_second(credentials, wall):
    token = generate_token("ingest")
    for _ in range(50):
        assert await refusal(credentials, token) == (401, "token_invalid")
    assert credentials.lookup.queries == 1
    wall.ahead_millis = 1_001
    assert await refusal(credentials, token) == (401, "token_invalid")
    assert credentials.lookup.queries == 2


async def test_what_cannot_be_a_token_asks_nothing(credentials):
    for token in ("x", "fwi_short", "fwx_" + "a" * 43, "fwi_" + "ä" * 43, "a.b", "\x00"):
        assert await refusal(credentials, token) == (401, "token_invalid")
    assert credentials.lookup.queries == 0


async def test_more_unknown_tokens_than_may_wait_are_told_to_come_back(credentials):
    refused = metrics.REGISTRY.get_sample_value("fleetwire_access_lookups_refused_total")
    asked = [asyncio.ensure_future(credentials.principal(generate_token("ingest"))) for _ in range(LOOKUPS_WAITING + 5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    codes = [answer.code for answer in answers]
    assert codes.count("access_busy") == 5
    assert metrics.REGISTRY.get_sample_value("fleetwire_access_lookups_refused_total") == refused + 5
    assert codes.count("token_invalid") == LOOKUPS_WAITING
    assert await refusal(credentials, generate_token("ingest")) == (401, "token_invalid")


async def test_a_token_ends_at_its_expiry_though_it_is_remembered(owner, credentials, wall):
    token = await owner_admin.issue_token(owner, "acme", "ingest", life_secs=30)
    await credentials.principal(token)
    wall.ahead_millis = 30_001
    assert await refusal(credentials, token) == (401, "token_expired")
    assert credentials.lookup.queries == 1
    wall.ahead_millis = 90_000
    assert await refusal(credentials, token) == (401, "token_expired")


@pytest.mark.parametrize(
    "suspend", ["UPDATE tenant SET status = 'suspended'", "UPDATE app_user SET status = 'disabled'"]
)
async def test_a_suspended_user_or_tenant_has_no_valid_token(owner, credentials, suspend):
    token = await owner_admin.issue_token(owner, "acme", "user", "dora")
    await owner.execute(suspend)
    assert await refusal(credentials, token) == (401, "token_revoked")


async def test_a_revoked_token_stops_within_a_second_on_every_worker(owner, gate, database, pool):
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    async with listening_gate(database, pool) as (other, _):
        workers = [gate.credentials, other.credentials]
        for credentials in workers:
            await credentials.principal(token)
        credential_id = await owner_admin.revoke_token(owner, token)
        async with asyncio.timeout(1):
            for credentials in workers:
                while await outcome(credentials, token) != (401, "token_revoked"):
                    await asyncio.sleep(0.005)
    assert await owner_admin.revoke_token(owner, credential_id) == credential_id


async def test_a_revocation_that_meets_its_lookup_wins(owner, credentials):
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    asked, go = asyncio.Event(), asyncio.Event()
    by_hash = credentials.lookup.by_hash

    async def slow(token_hash, *, now_millis):
        found = await by_hash(token_hash, now_millis=now_millis)
        asked.set()
        await go.wait()
        return found

    credentials.lookup = type("Slow", (), {"by_hash": staticmethod(slow)})()
    request = asyncio.ensure_future(credentials.principal(token))
    await asked.wait()
    credentials.revoke(hash_token(token).hex())
    go.set()
    with pytest.raises(Problem, match="token_revoked"):
        await request


async def test_after_a_gap_in_the_hearing_nothing_remembered_is_trusted(owner, listening):
    gate, listener = listening
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    ended = []
    gate.credentials.follow(await gate.credentials.principal(token), ended.append)
    # A revocation that no notification tells of stands for one that fell into the gap.
    await owner.execute("UPDATE credential SET revoked_at = now()")
    assert (await gate.credentials.principal(token)).tenant == "acme"
    before = listener.connections
    listens = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
    assert await owner.fetchval(f"SELECT bool_and(pg_terminate_backend(pid)) {listens}", APPLICATION_NAME)
    await until(lambda: listener.connections > before, 3)
    assert await refusal(gate.credentials, token) == (401, "token_revoked")
    await until(lambda: ended)
    assert ended[0].code == "token_revoked"


async def test_a_socket_is_told_once_when_its_credential_is_revoked(owner, gate):
    token = await owner_admin.issue_token(owner, "acme", "user", "dora")
    asker = await gate.credentials.principal(token)
    ended, left = [], []
    gate.credentials.follow(asker, ended.append)
    gate.credentials.follow(asker, left.append)()
    await owner_admin.revoke_token(owner, token)
    await until(lambda: ended)
    gate.credentials.revoke(hash_token(token).hex())
    assert [(problem.status, problem.code) for problem in ended] == [(401, "token_revoked")]
    assert left == []


async def test_a_socket_that_begins_to_follow_too_late_is_told_at_once(owner, credentials):
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    asker, ended = await credentials.principal(token), []
    credentials.revoke(hash_token(token).hex())
    credentials.follow(asker, ended.append)
    await until(lambda: ended)


async def test_a_socket_is_told_when_its_credential_expires(owner, credentials, wall):
    token = await owner_admin.issue_token(owner, "acme", "ingest", life_secs=3_600)
    asker, ended = await credentials.principal(token), []
    wall.ahead_millis = 3_599_900
    credentials.follow(asker, ended.append)
    assert ended == []
    await until(lambda: ended)
    assert ended[0].code == "token_expired"


async def test_the_last_use_is_written_once_a_minute_and_behind(owner, pool, wall):
    uses = LastUsedRecorder(pool)
    credentials = Authenticator(pool, SigningKeys(pool, keep_retired_secs=7200), uses, now_millis=wall)
    token = await owner_admin.issue_token(owner, "acme", "ingest")
    await credentials.principal(token)
    assert await owner.fetchval("SELECT last_used_at FROM credential") is None
    await uses.write()
    first = await owner.fetchval("SELECT last_used_at FROM credential")
    assert first is not None
    wall.ahead_millis = 61_000  # Looked up again, while the database's minute is not over.
    await credentials.principal(token)
    await uses.write()
    assert await owner.fetchval("SELECT last_used_at FROM credential") == first
    await owner.execute("UPDATE credential SET last_used_at = now() - interval '61 s'")
    wall.ahead_millis = 122_000
    await credentials.principal(token)
    await uses.write()
    assert await owner.fetchval("SELECT last_used_at FROM credential") > first


async def test_without_a_database_the_answer_is_503_and_says_nothing_of_the_token(owner, credentials, pool):
    known, cold = (
        await owner_admin.issue_token(owner, "acme", "ingest"),
        await owner_admin.issue_token(owner, "acme", "ingest"),
    )
    await credentials.principal(known)
    pool.terminate()
    assert (await credentials.principal(known)).tenant == "acme"
    assert await refusal(credentials, cold) == (503, "access_unavailable")
