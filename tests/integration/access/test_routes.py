"""The routes and the way in, as an ASGI client sees them."""

import asyncpg
import httpx
import pytest
from argon2 import PasswordHasher
from litestar import Litestar, Request, Response, get, post
from litestar.di import NamedDependency

from fleetwire.access.accounts import owner_admin
from fleetwire.access.accounts.routes import access_dependencies, access_router
from fleetwire.access.auth import open_auth
from fleetwire.access.identity.guards import AccessMiddleware, authenticate, requires
from fleetwire.access.identity.principal import Principal
from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.errors import Problem, RateLimited
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pool import open_pool
from fleetwire.settings import Settings

PASSWORD = "correct horse battery"
OWN = {"Origin": "http://fleet.example"}


@get("/api/live", guards=[requires("watch")])
async def live(principal: NamedDependency[Principal]) -> str:
    return principal.tenant


@post("/api/ingest", guards=[requires("ingest")])
async def ingest() -> None:
    return None


@get("/health", public=True)
async def health() -> str:
    return "ok"


def problem_response(_request: Request, problem: Problem) -> Response:
    return Response(problem.members(), status_code=problem.status, headers=problem.headers())


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def gate(database):
    async with await open_pool(database, "fleetwire_app", 1, 4) as pool:
        opened = open_auth(pool, Listener(database), allowed_origins=frozenset({"https://console.example"}))
        yield opened
        await opened.close()


@pytest.fixture(autouse=True)
async def dora(owner):
    await owner_admin.issue_token(owner, "acme", "user", "dora", "dispatcher")
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    await owner.execute("UPDATE app_user SET password_hash = $1", quick.hash(PASSWORD))


@pytest.fixture
def client_at(gate):
    app = Litestar(
        [access_router(), live, ingest, health],
        middleware=[AccessMiddleware(lambda: gate)],
        dependencies=access_dependencies(lambda: gate),
        exception_handlers={Problem: problem_response},
    )

    def made(address="192.0.2.1", base_url="http://fleet.example"):
        transport = httpx.ASGITransport(app, client=(address, 50_000))
        return httpx.AsyncClient(transport=transport, base_url=base_url)

    return made


async def log_in(client, password=PASSWORD, **options):
    return await client.post("/api/login", json={"tenant": "acme", "user": "dora", "password": password}, **options)


def outcome(response):
    return response.status_code, response.json()["code"]


async def test_a_login_answers_a_token_and_a_cookie_no_script_can_read(client_at):
    async with client_at() as client:
        response = await log_in(client)
        assert response.status_code == 200
        body = response.json()
        assert set(body) == {
            "token", "expires_at", "refresh_token", "session_expires_at", "user", "role", "tenant"
        }  # fmt: skip
        assert (body["user"], body["role"], body["tenant"]) == ("dora", "dispatcher", "acme")
        parts = {part.strip() for part in response.headers["set-cookie"].split(";")}
        age = next(part for part in parts if part.startswith("Max-Age="))
        assert 7_100 < int(age.removeprefix("Max-Age=")) <= 7_200
        parts.remove(age)
        assert parts == {
            f"fleetwire_session={body['token']}",
            "HttpOnly",
            "Path=/",
            "SameSite=strict",
        }
        assert response.headers["cache-control"] == "no-store"


async def test_the_cookie_is_for_tls_only_when_the_login_came_over_tls(client_at):
    async with client_at(base_url="https://fleet.example") as client:
        assert "Secure" in (await log_in(client)).headers["set-cookie"]


async def test_over_tls_cookies_have_the_host_prefix_and_no_other_name_is_read(client_at):
    own = {"Origin": "https://fleet.example"}
    async with client_at(base_url="https://fleet.example") as client:
        login = await log_in(client, headers=own)
        for cookie, name in zip(login.headers.get_list("set-cookie"), ("session", "refresh", "device"), strict=True):
            assert cookie.startswith(f"__Host-fleetwire_{name}=")
            assert {"HttpOnly", "Path=/", "SameSite=strict", "Secure"} <= set(cookie.split("; "))
            assert "Domain" not in cookie
        assert (await client.get("/api/live")).status_code == 200
        assert (await client.post("/api/session/renew", headers=own)).status_code == 200
        token, refresh = (client.cookies[f"__Host-fleetwire_{name}"] for name in ("session", "refresh"))
        # What another host of the domain may set:
        client.cookies = {"fleetwire_session": token, "fleetwire_refresh": refresh}
        assert outcome(await client.get("/api/live")) == (401, "token_missing")
        assert outcome(await client.post("/api/session/renew", headers=own)) == (401, "token_missing")


async def test_guesses_from_elsewhere_or_the_same_address_do_not_lock_out_a_known_browser(client_at):
    async with client_at() as known, client_at() as guesser:
        await log_in(known, headers=OWN)
        assert known.cookies["fleetwire_device"]
        while (refused := await log_in(guesser, "wrong password")).status_code == 401:
            pass
        assert outcome(refused) == (429, "login_rate")
        assert (await log_in(known, headers=OWN)).status_code == 200
        guesser.cookies = {"fleetwire_device": known.cookies["fleetwire_device"][:-3] + "AAA"}  # a made-up one
        assert outcome(await log_in(guesser)) == (429, "login_rate")
        for _ in range(9):
            assert (await log_in(known, "wrong password", headers=OWN)).status_code == 401
        assert outcome(await log_in(known, headers=OWN)) == (429, "login_rate")  # a stolen cookie guesses no faster


async def refused_of(limits, networks, users, most):
    """How many of the first logins are let through, each from the next network and for the next user."""
    for number in range(most):
        try:
            await limits.login(networks(number), "acme", users(number))
        except RateLimited:
            return number
    return most


@pytest.mark.parametrize(
    ("networks", "users", "let_through"),
    [
        (lambda n: f"2001:db8:0:{n:x}::/64", lambda n: f"u{n}", 60),  # of one /56
        (lambda n: f"2001:db8:0:{n:x}00::/64", lambda n: f"u{n}", 240),  # of one /48
        (lambda n: f"2001:db8:{n:x}::/64", lambda _: "dora", 100),
        (lambda n: f"192.0.{n // 250}.{n % 250}", lambda _: "dora", 100),
    ],
    ids=["/56", "/48", "account", "account IPv4"],
)
async def test_guesses_from_many_networks_are_limited_together(networks, users, let_through):
    passed = await refused_of(RateLimiter(Settings()), networks, users, let_through + 50)
    assert let_through <= passed <= let_through + 2


async def test_a_login_of_a_page_ends_the_session_before(client_at):
    async with client_at() as client, client_at() as other:
        await log_in(client, headers=OWN)
        former = client.cookies["fleetwire_session"]
        await log_in(other, headers=OWN)  # another browser's session is left alone
        await log_in(client, headers=OWN)
        assert client.cookies["fleetwire_session"] != former
        assert (await client.get("/api/live")).status_code == 200
        assert (await other.get("/api/live")).status_code == 200
        former = {"Authorization": f"Bearer {former}"}
        assert outcome(await client.get("/api/live", headers=former)) == (401, "token_revoked")


async def test_a_replaced_refresh_cookie_is_good_for_the_same_browser_at_the_same_address_only(client_at, owner):
    for stolen in ({"address": "192.0.2.9"}, {}):
        async with client_at() as client, client_at(**stolen) as thief:
            await log_in(client, headers=OWN)
            thief.cookies = dict(client.cookies)
            agent = {} if stolen else {"User-Agent": "another"}
            assert (await client.post("/api/session/renew", headers=OWN)).status_code == 200
            reused = await thief.post("/api/session/renew", headers=OWN | agent)
            assert outcome(reused) == (401, "refresh_reused")
            assert outcome(await client.get("/api/live")) == (401, "token_revoked")
    assert await owner.fetchval("SELECT count(*) FROM audit_log WHERE action = 'session.reuse'") == 2


async def test_the_cookie_shows_the_session_and_opens_what_the_role_may(client_at):
    async with client_at() as client:
        expires_at = (await log_in(client)).json()["expires_at"]
        shown = await client.get("/api/session")
        assert shown.json() == {
            "kind": "user",
            "role": "dispatcher",
            "tenant": "acme",
            "user": "dora",
            "device": None,
            "expires_at": expires_at,
        }
        assert (await client.get("/api/live")).text == "acme"
        assert outcome(await client.post("/api/ingest", headers=OWN)) == (403, "forbidden")


async def test_a_device_token_may_send_and_not_watch(client_at, owner):
    token = await owner_admin.issue_token(owner, "acme", "device", "truck-7")
    headers = {"Authorization": f"Bearer {token}"}
    async with client_at() as client:
        assert (await client.post("/api/ingest", headers=headers)).status_code == 201
        assert outcome(await client.get("/api/live", headers=headers)) == (403, "forbidden")
        assert (await client.get("/api/session", headers=headers)).json()["device"] == "truck-7"


async def test_without_a_credential_only_what_is_public_answers(client_at):
    async with client_at() as client:
        assert (await client.get("/health")).text == "ok"
        for method, path in [
            ("GET", "/api/live"),
            ("POST", "/api/ingest"),
            ("GET", "/api/session"),
            ("POST", "/api/logout"),
        ]:
            response = await client.request(method, path)
            assert outcome(response) == (401, "token_missing"), path
            assert response.headers["www-authenticate"] == "Bearer"
        response = await client.get("/api/live", params={"token": "fwi_" + "a" * 43})
        assert outcome(response) == (401, "token_missing")


async def test_a_wrong_password_is_told_with_its_code(client_at):
    async with client_at() as client:
        response = await log_in(client, "wrong password")
        assert outcome(response) == (401, "login_failed")
        assert "set-cookie" not in response.headers


@pytest.mark.parametrize("path", ["/api/logout", "/api/ingest"])
async def test_the_cookie_writes_only_from_the_servers_own_pages(client_at, path):
    async with client_at() as client:
        await log_in(client, headers=OWN)
        token = client.cookies["fleetwire_session"]
        assert outcome(await client.post(path)) == (403, "origin_forbidden")
        evil = {"Origin": "http://evil.example"}
        assert outcome(await client.post(path, headers=evil)) == (403, "origin_forbidden")
        bearer = {"Authorization": f"Bearer {token}"}
        for headers in (OWN, {"Origin": "https://console.example"}, bearer, bearer | evil):
            assert (await client.post(path, headers=headers)).status_code != 401
            if path == "/api/logout":
                return


async def test_a_foreign_page_cannot_log_its_visitor_in(client_at):
    async with client_at() as client:
        response = await log_in(client, headers={"Origin": "http://evil.example"})
        assert outcome(response) == (403, "origin_forbidden")
        assert (await log_in(client, headers=OWN)).status_code == 200


async def test_a_page_is_told_no_token_and_renews_by_its_cookie(client_at):
    async with client_at() as client:
        login = await log_in(client, headers=OWN)
        assert (login.json()["token"], login.json()["refresh_token"]) == (None, None)
        _, refresh, _device = login.headers.get_list("set-cookie")
        assert refresh.startswith("fleetwire_refresh=fwr_")
        assert {"HttpOnly", "Path=/api/session/renew", "SameSite=strict"} <= set(refresh.split("; "))
        response = await client.post("/api/session/renew", headers=OWN)
        assert response.status_code == 200
        assert (response.json()["token"], response.json()["refresh_token"]) == (None, None)
        assert "fleetwire_session=" in response.headers["set-cookie"]
        for origin in ({}, {"Origin": "http://evil.example"}):
            assert outcome(await client.post("/api/session/renew", headers=origin)) == (403, "origin_forbidden")


async def test_two_tabs_may_renew_at_the_same_moment(client_at, owner):
    async with client_at() as client:
        await log_in(client, headers=OWN)
        cookies = dict(client.cookies)
        first = await client.post("/api/session/renew", headers=OWN)
        client.cookies = cookies
        second = await client.post("/api/session/renew", headers=OWN)
        assert (first.status_code, second.status_code) == (200, 200)
        assert "fleetwire_refresh" not in second.headers["set-cookie"]  # The first answer's is the one to keep.
    assert await owner.fetchval("SELECT count(*) FROM audit_log WHERE action = 'session.overlap'") == 1


async def test_a_program_renews_by_the_body_and_its_token_is_good_once(client_at):
    async with client_at() as client:
        login = (await log_in(client)).json()
        client.cookies.clear()
        again = await client.post("/api/session/renew", json={"refresh_token": login["refresh_token"]})
        assert again.status_code == 200
        assert again.json()["refresh_token"] not in {None, login["refresh_token"]}
        client.cookies.clear()
        assert outcome(await client.post("/api/session/renew")) == (401, "token_missing")
        bearer = {"Authorization": f"Bearer {again.json()['refresh_token']}"}
        again = await client.post("/api/session/renew", headers=bearer)
        assert again.status_code == 200
        client.cookies.clear()
        access = {"Authorization": f"Bearer {again.json()['token']}"}
        assert outcome(await client.post("/api/session/renew", headers=access)) == (401, "token_invalid")
        reused = await client.post("/api/session/renew", json={"refresh_token": login["refresh_token"]})
        assert outcome(reused) == (401, "refresh_reused")
        newest = await client.post("/api/session/renew", json={"refresh_token": again.json()["refresh_token"]})
        assert outcome(newest) == (401, "token_revoked")


async def test_a_logout_drops_the_cookie_and_ends_the_token(client_at):
    async with client_at() as client:
        token = (await log_in(client)).json()["token"]
        response = await client.post("/api/logout", headers=OWN)
        assert (response.status_code, response.content) == (204, b"")
        assert "Max-Age=0" in response.headers["set-cookie"]
        assert "fleetwire_session" not in client.cookies
        response = await client.get("/api/session", headers={"Authorization": f"Bearer {token}"})
        assert outcome(response) == (401, "token_revoked")


async def test_the_eleventh_login_in_a_minute_is_told_when_to_come_back(client_at):
    async with client_at() as client, client_at("192.0.2.2") as elsewhere:
        for _ in range(10):
            assert (await log_in(client, "wrong password")).status_code == 401
        response = await log_in(client)
        assert outcome(response) == (429, "login_rate")
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert (await log_in(elsewhere)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tenant": "acme", "user": "dora"},
        {"tenant": "acme", "user": "dora", "password": 5},
        {"tenant": "acme", "user": "", "password": "x"},
        {"tenant": "a" * 201, "user": "dora", "password": "x"},
        {"tenant": "acme", "user": "dora", "password": "x" * 1_025},
        {"tenant": "acme", "user": "dora", "password": "x", "admin": True},
    ],
)
async def test_a_login_of_another_shape_is_a_bad_request(client_at, body):
    async with client_at() as client:
        assert (await client.post("/api/login", json=body)).status_code == 400


async def test_a_guard_without_the_middleware_lets_nobody_pass(gate):
    app = Litestar(
        [live], dependencies=access_dependencies(lambda: gate), exception_handlers={Problem: problem_response}
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fleet.example") as client:
        assert outcome(await client.get("/api/live")) == (401, "token_missing")


async def test_a_handshake_is_let_in_by_the_same_function(gate, owner, client_at):
    async with client_at() as client:
        cookie = f"fleetwire_session={(await log_in(client)).json()['token']}".encode()
    handshake = {"type": "websocket", "scheme": "ws", "path": "/ws/dispatch", "query_string": b""}
    host, origin = (b"host", b"fleet.example"), (b"origin", b"http://fleet.example")
    asker = await authenticate(handshake | {"headers": [host, origin, (b"cookie", cookie)]}, gate.credentials)
    assert asker.may_watch()
    for headers in ([host, (b"cookie", cookie)], [host, (b"origin", b"http://evil.example"), (b"cookie", cookie)]):
        with pytest.raises(Problem, match="origin_forbidden"):
            await authenticate(handshake | {"headers": headers}, gate.credentials)
    token = await owner_admin.issue_token(owner, "acme", "device", "truck-7")
    bearer = (b"authorization", f"Bearer {token}".encode())
    assert (await authenticate(handshake | {"headers": [host, bearer]}, gate.credentials)).device == "truck-7"
    query = f"token={token}".encode()
    with pytest.raises(Problem, match="token_missing"):
        await authenticate(handshake | {"headers": [host], "query_string": query}, gate.credentials)


async def test_the_routes_are_described(gate):
    app = Litestar([access_router()], dependencies=access_dependencies(lambda: gate))
    paths = app.openapi_schema.to_schema()["paths"]
    assert set(paths) == {"/api/login", "/api/session", "/api/session/renew", "/api/password", "/api/logout"}
    for methods in paths.values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["description"]
