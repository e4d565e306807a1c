"""Logins against a real PostgreSQL: opening, renewing and ending sessions, and tokens that pretend."""

import asyncio
import base64
import json
import uuid

import asyncpg
import jwt
import pytest
from argon2 import PasswordHasher

from fleetwire.access.accounts import owner_admin, refresh_token, rotation
from fleetwire.access.accounts.passwords import Passwords
from fleetwire.access.accounts.sessions import SESSION_LIFE_SECS, Sessions
from fleetwire.access.accounts.signing_keys import SigningKeys
from fleetwire.access.identity.authenticator import REVOKED_CHANNEL, Authenticator
from fleetwire.access.identity.last_used import LastUsedRecorder
from fleetwire.errors import Problem
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pool import NestedAcquireError, acquire, open_pool
from fleetwire.runtime import clock

PASSWORD = "correct horse battery"


class Hasher(PasswordHasher):
    """Argon2id, and a record of what was verified."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0

    def verify(self, hash, password):  # noqa: A002 - argon2's name
        self.verified += 1
        return super().verify(hash, password)


class Worker:
    """What one process has for logins, with a clock that a test moves."""

    def __init__(self, pool, dsn):
        self.ahead_millis = 0
        self.hasher = Hasher()
        self.keys = SigningKeys(pool, keep_retired_secs=SESSION_LIFE_SECS)
        self.credentials = Authenticator(pool, self.keys, LastUsedRecorder(pool), now_millis=self.now_millis)
        self.sessions = Sessions(
            pool,
            self.keys,
            Passwords(hasher=self.hasher),
            revoked=self.credentials.revoke,
            now_millis=self.now_millis,
        )
        self.listener = Listener(dsn)
        self.listener.on(REVOKED_CHANNEL, heard=self.credentials.revoke, connected=self.credentials.forget)

    def now_millis(self):
        return clock.now_millis() + self.ahead_millis

    async def close(self):
        await self.listener.stop()
        await self.credentials.stop()


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def pool(database):
    async with await open_pool(database, "fleetwire_app", 1, 4) as opened:
        yield opened


@pytest.fixture
async def worker(pool, database):
    made = Worker(pool, database)
    await made.listener.start()
    yield made
    await made.close()


@pytest.fixture(autouse=True)
async def dora(owner):
    """A dispatcher of acme, with a hash that is quick to verify."""
    await owner_admin.issue_token(owner, "acme", "user", "dora", "dispatcher")
    await owner.execute("UPDATE app_user SET password_hash = $1", Hasher().hash(PASSWORD))


async def code(awaitable):
    with pytest.raises(Problem) as refused:
        await awaitable
    return refused.value.status, refused.value.code


async def ends_within_a_second(worker, token):
    async with asyncio.timeout(1):
        while True:
            try:
                await worker.credentials.principal(token)
            except Problem as problem:
                return problem.code
            await asyncio.sleep(0.005)


async def test_a_login_gives_a_token_for_a_quarter_of_an_hour_and_a_session_for_two_hours(owner, worker):
    before = clock.now_millis()
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    assert (login.tenant, login.user, login.role) == ("acme", "dora", "dispatcher")
    assert 899_000 <= login.expires_at_millis - before <= 901_000
    claims = jwt.decode(login.token, options={"verify_signature": False})
    row = await owner.fetchrow("SELECT *, extract(epoch FROM expires_at - created_at)::int AS life FROM session")
    assert claims == {
        "iss": "fleetwire",
        "aud": "fleetwire",
        "iat": claims["exp"] - 900,
        "exp": login.expires_at_millis // 1000,
        "sub": str(row["user_id"]),
        "tenant": row["tenant_id"],
        "role": "dispatcher",
        "sid": str(row["session_id"]),
    }
    assert row["life"] == 7_200
    assert login.token not in repr(login)


async def test_a_login_is_asked_for_once_a_minute(worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    askers = await asyncio.gather(*(worker.credentials.principal(login.token) for _ in range(1_000)))
    assert worker.credentials.lookup.queries == 1
    assert (askers[0].user, askers[0].role, askers[0].kind) == ("dora", "dispatcher", "user")
    assert askers[0].expires_at_millis == login.expires_at_millis


@pytest.mark.parametrize(
    ("tenant", "user", "password"),
    [
        ("acme", "dora", "correct horse batterie"),
        ("acme", "emil", PASSWORD),
        ("other", "dora", PASSWORD),
        ("acme", "dora\0", PASSWORD),
        ("acme", "dora", ""),
        ("acme", "dora", "a" * 1_000),
        ("acme", "nopassword", PASSWORD),
    ],
)
async def test_every_wrong_login_is_told_the_same_and_costs_one_verification(owner, worker, tenant, user, password):
    await owner_admin.issue_token(owner, "acme", "user", "nopassword")
    with pytest.raises(Problem) as refused:
        await worker.sessions.login(tenant, user, password)
    problem = refused.value
    assert (problem.status, problem.code, problem.detail) == (401, "login_failed", "Tenant, user or password is wrong.")
    assert problem.headers() == {"WWW-Authenticate": "Bearer"}
    assert worker.hasher.verified == 1
    assert await owner.fetchval("SELECT count(*) FROM session") == 0


@pytest.mark.parametrize(
    "suspend", ["UPDATE tenant SET status = 'suspended'", "UPDATE app_user SET status = 'disabled'"]
)
async def test_only_who_knows_the_password_is_told_of_a_suspension(owner, worker, suspend):
    await owner.execute(suspend)
    assert await code(worker.sessions.login("acme", "dora", "wrong password")) == (401, "login_failed")
    assert await code(worker.sessions.login("acme", "dora", PASSWORD)) == (403, "login_suspended")
    assert await owner.fetchval("SELECT count(*) FROM session") == 0


async def test_first_logins_at_once_make_one_key(owner, pool, database):
    workers = [Worker(pool, database) for _ in range(4)]
    logins = await asyncio.gather(*(worker.sessions.login("acme", "dora", PASSWORD) for worker in workers))
    assert await owner.fetchval("SELECT count(*) FROM signing_key") == 1
    for worker in workers:
        for login in logins:
            assert (await worker.credentials.principal(login.token)).user == "dora"


async def test_a_second_first_key_waits_and_is_not_kept(owner, pool):
    offer = "SELECT ensure_signing_key($1, $2)"
    async with owner.transaction():
        await owner.execute(offer, "first", bytes(32))
        second = asyncio.ensure_future(pool.execute(offer, "second", bytes(32)))
        done, _ = await asyncio.wait([second], timeout=0.2)
        assert not done
    await second
    assert await owner.fetch("SELECT kid FROM signing_key") == [("first",)]


async def test_two_keys_verify_and_the_newest_signs(owner, worker, pool, database):
    old = await worker.sessions.login("acme", "dora", PASSWORD)
    await owner.execute("UPDATE signing_key SET retired_at = now()")
    await owner.execute("INSERT INTO signing_key (kid, secret) VALUES ('second', $1)", b"s" * 32)
    fresh = Worker(pool, database)
    new = await fresh.sessions.login("acme", "dora", PASSWORD)
    assert jwt.get_unverified_header(new.token) == {"alg": "HS256", "kid": "second", "typ": "JWT"}
    await fresh.credentials.principal(old.token)
    worker.keys._read_at_secs -= 1.0  # The last look at the keys is more than a second ago.
    await worker.credentials.principal(new.token)
    await owner.execute("UPDATE signing_key SET retired_at = now() - interval '2 hours' WHERE kid <> 'second'")
    assert await code(Worker(pool, database).credentials.principal(old.token)) == (401, "token_invalid")


def pretend(login, key, **changes):
    """The login's token with other claims or another header, signed with the right secret unless told otherwise."""
    header = {"kid": key.kid} | changes.pop("header", {})
    secret, algorithm = changes.pop("secret", key.secret), changes.pop("algorithm", "HS256")
    claims = jwt.decode(login.token, options={"verify_signature": False}) | changes
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None}, secret, algorithm, headers=header
    )


def unsigned(login, key, algorithm):
    encode = lambda part: base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()  # noqa: E731
    claims = jwt.decode(login.token, options={"verify_signature": False})
    return f"{encode({'alg': algorithm, 'kid': key.kid, 'typ': 'JWT'})}.{encode(claims)}."


NOW = clock.now_millis() // 1000
PRETENCES = {
    "alg none": lambda login, key: unsigned(login, key, "none"),
    "alg NONE": lambda login, key: unsigned(login, key, "NoNe"),
    "alg none by the library": lambda login, key: pretend(login, key, secret=None, algorithm="none"),
    "no signature": lambda login, key: unsigned(login, key, "HS256"),
    "HS512 with the right secret": lambda login, key: pretend(login, key, secret=key.secret * 2, algorithm="HS512"),
    "HS384 with the right secret": lambda login, key: pretend(login, key, secret=key.secret * 2, algorithm="HS384"),
    "RS256 in the header": lambda login, key: unsigned(login, key, "RS256") + login.token.split(".")[2],
    "another secret": lambda login, key: pretend(login, key, secret=b"x" * 32),
    "an unknown kid": lambda login, key: pretend(login, key, header={"kid": "unknown"}),
    "no kid": lambda login, key: jwt.encode(
        jwt.decode(login.token, options={"verify_signature": False}), key.secret, "HS256"
    ),
    "nbf ahead": lambda login, key: pretend(login, key, nbf=NOW + 600),
    "iat ahead": lambda login, key: pretend(login, key, iat=NOW + 600),
    "another audience": lambda login, key: pretend(login, key, aud="elsewhere"),
    "no audience": lambda login, key: pretend(login, key, aud=None),
    "another issuer": lambda login, key: pretend(login, key, iss="elsewhere"),
    "no issuer": lambda login, key: pretend(login, key, iss=None),
    "no exp": lambda login, key: pretend(login, key, exp=None),
    "no session": lambda login, key: pretend(login, key, sid=None),
    "a session that is no uuid": lambda login, key: pretend(login, key, sid="1"),
    "a tenant that is no number": lambda login, key: pretend(login, key, tenant="1"),
    "a user that is no number": lambda login, key: pretend(login, key, sub="dora"),
    "changed claims": lambda login, key: ".".join(
        [login.token.split(".")[0], pretend(login, key, role="admin").split(".")[1], login.token.split(".")[2]]
    ),
    "not base64": lambda login, _: login.token[:-2] + "!!",
    "two dots": lambda *_: "..",
}


@pytest.mark.parametrize("pretence", PRETENCES)
async def test_a_token_that_pretends_is_invalid(worker, pretence):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    token = PRETENCES[pretence](login, await worker.keys.signing())
    assert await code(worker.credentials.principal(token)) == (401, "token_invalid")
    assert await code(worker.sessions.logout(token)) == (401, "token_invalid")


async def test_an_untouched_copy_does_not_pretend(worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    assert (await worker.credentials.principal(pretend(login, await worker.keys.signing()))).user == "dora"


async def test_made_up_kids_do_not_cost_a_query_each(worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    key = await worker.keys.signing()
    reads = []
    fetch = worker.keys._pool.fetch

    class Counted:
        async def fetch(self, *arguments):
            reads.append(arguments)
            return await fetch(*arguments)

    worker.keys._pool = Counted()
    for number in range(100):
        await code(worker.credentials.principal(pretend(login, key, header={"kid": f"made-up-{number}"})))
    assert len(reads) <= 1


async def test_a_good_signature_over_another_tenants_session_opens_nothing(owner, worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    other = await owner_admin.ensure_tenant(owner, "other")
    token = pretend(login, await worker.keys.signing(), tenant=other)
    assert await code(worker.credentials.principal(token)) == (401, "token_revoked")
    token = pretend(login, await worker.keys.signing(), sid=str(uuid.uuid4()))
    assert await code(worker.credentials.principal(token)) == (401, "token_revoked")


async def test_role_and_status_are_the_rows_and_not_the_tokens(owner, worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    assert (await worker.credentials.principal(login.token)).role == "dispatcher"
    await owner.execute("UPDATE app_user SET role = 'customer'")
    worker.ahead_millis = 60_001
    assert not (await worker.credentials.principal(login.token)).may_watch()
    await owner.execute("UPDATE app_user SET status = 'disabled'")
    worker.ahead_millis = 120_002
    assert await code(worker.credentials.principal(login.token)) == (401, "token_revoked")
    assert await code(worker.sessions.renew(login.refresh_token)) == (403, "login_suspended")


async def test_an_expired_token_is_refused_and_still_renews_its_session(owner, worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    await worker.credentials.principal(login.token)
    worker.ahead_millis = 900_001
    assert await code(worker.credentials.principal(login.token)) == (401, "token_expired")
    await owner.execute("UPDATE session SET expires_at = now() + interval '1 s'")
    renewed = await worker.sessions.renew(login.refresh_token)
    assert (await worker.credentials.principal(renewed.token)).user == "dora"
    assert await owner.fetchval("SELECT count(*) FROM session") == 1
    assert await owner.fetchval("SELECT expires_at > now() + interval '119 min' FROM session")


async def test_a_session_that_is_over_is_not_renewed(owner, worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    await owner.execute("UPDATE session SET expires_at = now()")
    assert await code(worker.sessions.renew(login.refresh_token)) == (401, "token_expired")
    assert await code(worker.credentials.principal(login.token)) == (401, "token_expired")
    await owner.execute("DELETE FROM session")
    assert await code(worker.sessions.renew(login.refresh_token)) == (401, "token_revoked")


async def test_a_logout_stops_the_token_on_every_worker_within_a_second(worker, pool, database):
    other = Worker(pool, database)
    await other.listener.start()
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    renewed = await worker.sessions.renew(login.refresh_token)
    stays = await worker.sessions.login("acme", "dora", PASSWORD)
    ended = []
    for token in (login.token, renewed.token, stays.token):
        await worker.credentials.principal(token)
        other.credentials.follow(await other.credentials.principal(token), ended.append)
    await worker.sessions.logout(login.token)
    assert await code(worker.credentials.principal(login.token)) == (401, "token_revoked")
    assert await ends_within_a_second(other, login.token) == "token_revoked"
    assert await ends_within_a_second(other, renewed.token) == "token_revoked"
    assert [problem.code for problem in ended] == ["token_revoked"] * 2
    assert await code(worker.sessions.renew(renewed.refresh_token)) == (401, "token_revoked")
    assert (await other.credentials.principal(stays.token)).user == "dora"
    await worker.sessions.logout(login.token)
    await other.close()


async def test_a_login_that_was_ended_stays_ended_while_the_database_is_away(worker, pool):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    await worker.credentials.principal(login.token)
    await worker.sessions.logout(login.token)
    worker.ahead_millis = 5 * 60_000  # the token itself lives for 15 minutes
    pool.terminate()
    assert await code(worker.credentials.principal(login.token)) == (401, "token_revoked")


async def test_what_the_database_refused_once_stays_refused_while_it_is_away(owner, pool):
    """The revocation is not heard: the refusal itself removes the token, and the session's other tokens."""
    keys = SigningKeys(pool, keep_retired_secs=SESSION_LIFE_SECS)
    ahead_millis = 0

    def now_millis():
        return clock.now_millis() + ahead_millis

    credentials = Authenticator(pool, keys, LastUsedRecorder(pool), now_millis=now_millis)
    sessions = Sessions(pool, keys, Passwords(hasher=Hasher()), revoked=lambda _key: None, now_millis=now_millis)
    first = await sessions.login("acme", "dora", PASSWORD)
    ahead_millis = 2_000  # tokens of one second are the same
    second = await sessions.renew(first.refresh_token)
    opaque = await owner_admin.issue_token(owner, "acme", "ingest")
    for token in (first.token, second.token, opaque):
        await credentials.principal(token)
    await sessions.logout(first.token)
    await owner_admin.revoke_token(owner, opaque)
    ahead_millis = 2 * 60_000  # what is cached has to be looked up again
    for token in (first.token, opaque):
        assert await code(credentials.principal(token)) == (401, "token_revoked")
    ahead_millis = 4 * 60_000
    pool.terminate()
    assert await code(credentials.principal(first.token)) == (503, "access_unavailable")
    assert await code(credentials.principal(opaque)) == (503, "access_unavailable")
    assert await code(credentials.principal(second.token)) == (401, "token_revoked")


async def test_a_new_password_ends_the_users_sessions(owner, worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    await worker.credentials.principal(login.token)
    await owner_admin.set_password(owner, "acme", "dora", "another horse battery")
    assert await ends_within_a_second(worker, login.token) == "token_revoked"
    assert await code(worker.sessions.login("acme", "dora", PASSWORD)) == (401, "login_failed")
    assert (await worker.sessions.login("acme", "dora", "another horse battery")).user == "dora"


async def test_an_opaque_token_has_no_session_to_renew_or_end(owner, worker):
    token = await owner_admin.issue_token(owner, "acme", "user", "dora")
    assert await code(worker.sessions.renew(token)) == (401, "token_invalid")
    assert await code(worker.sessions.logout(token)) == (403, "forbidden")


async def test_without_a_database_logins_are_told_to_come_back(worker, pool):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    pool.terminate()
    assert await code(worker.sessions.login("acme", "dora", PASSWORD)) == (503, "access_unavailable")
    assert await code(worker.sessions.renew(login.refresh_token)) == (503, "access_unavailable")
    assert await code(worker.sessions.logout(login.token)) == (503, "access_unavailable")


async def test_a_refresh_token_that_is_used_again_ends_the_session_and_is_noted(owner, worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    other = await worker.sessions.login("acme", "dora", PASSWORD)
    renewed = await worker.sessions.renew(login.refresh_token)
    assert await code(worker.sessions.renew(login.refresh_token)) == (401, "refresh_reused")
    assert await code(worker.credentials.principal(renewed.token)) == (401, "token_revoked")
    assert await code(worker.sessions.renew(renewed.refresh_token)) == (401, "token_revoked")
    assert (await worker.credentials.principal(other.token)).user == "dora"
    row = await owner.fetchrow("SELECT * FROM audit_log WHERE action = 'session.reuse'")
    ended = jwt.decode(login.token, options={"verify_signature": False})["sid"]
    assert (row["actor"], row["subject"]) == ("dora", ended)


async def test_one_refresh_token_at_once_is_good_for_one_of_many(worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    tries = [worker.sessions.renew(login.refresh_token) for _ in range(8)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    codes = sorted("renewed" if not isinstance(each, Problem) else each.code for each in outcomes)
    assert codes.count("renewed") == 1
    assert codes.count("refresh_reused") == 1
    assert codes.count("token_revoked") == 6


async def test_a_made_up_refresh_token_ends_nothing(worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    shown = refresh_token.read(login.refresh_token)
    made_up = refresh_token.first(shown.tenant_id, shown.session_id).text()
    for wrong in (made_up, "", "fwr_", login.refresh_token[:-1], "fwr_" + "ä" * 70, "x" * 74):
        assert await code(worker.sessions.renew(wrong)) == (401, "token_invalid")
    unknown = refresh_token.first(shown.tenant_id, uuid.uuid4()).text()
    assert await code(worker.sessions.renew(unknown)) == (401, "token_revoked")
    assert (await worker.sessions.renew(login.refresh_token)).user == "dora"


async def test_a_drivers_session_ends_eight_hours_after_the_login(owner, worker):
    await owner.execute("UPDATE app_user SET role = 'driver'")
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    assert abs(login.session_ends_at_millis - clock.now_millis() - 8 * 3_600_000) < 60_000
    await owner.execute("UPDATE session SET expires_at = now() + interval '5 minutes'")
    renewed = await worker.sessions.renew(login.refresh_token)
    assert renewed.expires_at_millis <= renewed.session_ends_at_millis < clock.now_millis() + 301_000


async def test_as_many_renewals_as_the_pool_has_connections_do_not_wait_for_each_other_at_a_key_reload(owner, worker):
    """A renewal that held a connection while it read the keys over a second one of the same pool would wait for all."""
    logins = [await worker.sessions.login("acme", "dora", PASSWORD) for _ in range(8)]
    worker.keys.forget()
    async with asyncio.timeout(3):
        renewed = await asyncio.gather(*(worker.sessions.renew(login.refresh_token) for login in logins))
    assert len({login.token for login in renewed}) == len(logins)


async def test_no_connection_is_acquired_while_one_of_the_same_pool_is_held(pool, database):
    """It raises wherever that happens in a test; another pool may be used."""
    async with await open_pool(database, "fleetwire_app", 1, 1) as other:
        async with acquire(pool), acquire(other) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        async with acquire(pool):
            with pytest.raises(NestedAcquireError):
                async with acquire(pool):
                    pass
        async with acquire(pool) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_no_secret_of_a_session_is_stored(owner, worker):
    login = await worker.sessions.login("acme", "dora", PASSWORD)
    shown = refresh_token.read(login.refresh_token)
    row = dict(await owner.fetchrow("SELECT * FROM session"))
    assert (row["family_hash"], row["refresh_hash"]) == (shown.family_hash, shown.hash)
    assert not {shown.family, shown.proof} & set(row.values())
    assert login.refresh_token not in repr(login)


async def test_a_rotation_logs_nobody_out_and_the_new_key_signs_at_once(owner, worker):
    old = await worker.sessions.login("acme", "dora", PASSWORD)
    await worker.credentials.principal(old.token)
    kid = await rotation.rotate(owner)
    async with asyncio.timeout(1):
        while (await worker.keys.signing()).kid != kid:
            await asyncio.sleep(0.01)
    new = await worker.sessions.renew(old.refresh_token)
    assert jwt.get_unverified_header(new.token)["kid"] == kid
    for token in (old.token, new.token):
        assert (await worker.credentials.principal(token)).user == "dora"
    assert [key.retired_at is None for key in await rotation.list_keys(owner)] == [True, False]


async def test_dropped_keys_verify_no_more_and_a_refresh_still_does(owner, worker):
    old = await worker.sessions.login("acme", "dora", PASSWORD)
    await worker.credentials.principal(old.token)
    await rotation.rotate(owner, drop_old=True)
    assert await ends_within_a_second(worker, old.token) == "token_invalid"
    new = await worker.sessions.renew(old.refresh_token)
    assert (await worker.credentials.principal(new.token)).user == "dora"
    assert len(await rotation.list_keys(owner)) == 1


async def test_keys_that_signed_nothing_alive_are_deleted_by_the_next_rotation(owner):
    first = await rotation.rotate(owner)
    await rotation.rotate(owner)
    await owner.execute("UPDATE signing_key SET retired_at = now() - interval '9 hours' WHERE kid = $1", first)
    await rotation.rotate(owner)
    assert first not in [key.kid for key in await rotation.list_keys(owner)]
