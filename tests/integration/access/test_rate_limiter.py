"""The limits of a running server: the usual ones, and each small enough to be met."""

import asyncio
import itertools
import json
import re
import time

import pytest

from harness.client import LOCATION, Client
from harness.fixes import fix
from harness.fixtures import running_server
from harness.tenants import PASSWORD, Tenant

PROXY = {"FLEETWIRE_TRUSTED_PROXIES": "127.0.0.0/8"}
SMALL = 3
_addresses = itertools.count(1)


@pytest.fixture(scope="module")
def server(module_database):
    """With the usual limits, behind a proxy that is trusted."""
    yield from running_server(module_database, {**PROXY, "FLEETWIRE_LIMITS": ""})


@pytest.fixture(scope="module")
def bare_server(module_database):
    """With the usual limits and no proxy."""
    yield from running_server(module_database, {"FLEETWIRE_LIMITS": ""})


def from_address(address=None):
    """As the proxy passes on a client that no other test has."""
    return {"X-Forwarded-For": address or f"198.51.100.{next(_addresses)}"}


def limited(answer, policy, quota, window_secs, code="rate_limited"):
    """Checks a refusal, and returns the seconds to wait."""
    assert answer.refusal == (429, code)
    wait_secs = int(answer.headers["Retry-After"])
    assert wait_secs >= 1
    assert answer.headers["RateLimit-Policy"] == f'"{policy}";q={quota};w={window_secs}'
    assert answer.headers["RateLimit"] == f'"{policy}";r=0;t={wait_secs}'
    return wait_secs


def remaining(answer):
    """Policy and units left, of an answer that was let through."""
    found = re.fullmatch(r'"([a-z_]+)";r=(\d+);t=\d+', answer.headers["RateLimit"])
    assert answer.headers["RateLimit-Policy"].startswith(f'"{found.group(1)}";q=')
    return found.group(1), int(found.group(2))


async def flood(ask, quota, per_sec, *, count=None):
    """Asks so often at once that a limit is met; returns who was let through and who was not.

    What flows in meanwhile depends on the machine's speed, and is allowed for.
    """
    started = time.monotonic()
    answers = await asyncio.gather(*(ask(number) for number in range(count or quota + quota // 2 + 20)))
    refused = [answer for answer in answers if answer.status == 429]
    through = [answer for answer in answers if answer.status != 429]
    assert refused
    assert quota <= len(through) <= quota + (time.monotonic() - started) * per_sec + 1
    return through, refused


async def becomes_limited(ask):
    """A drained bucket gets a unit now and then: one of a few requests meets the limit."""
    for number in range(50):
        if (await ask(number)).status == 429:
            return
    raise AssertionError("never limited")


def asking(client, method="GET", path="/api/live", **sent):
    """The same request again and again."""
    return lambda _: client.request(method, path, **sent)


ANONYMOUS = (100, 100 / 60)


async def test_a_stranger_has_a_hundred_requests_a_minute(client):
    headers = from_address()
    through, refused = await flood(asking(client, headers=headers), *ANONYMOUS)
    assert {answer.refusal for answer in through} == {(401, "token_missing")}
    assert max(remaining(answer) for answer in through) == ("anonymous", 99)
    assert limited(refused[0], "anonymous", 100, 60) == 1
    await becomes_limited(asking(client, path="/no/such/page", headers=headers))
    await becomes_limited(asking(client, "POST", LOCATION, headers=headers, body=b"{}"))
    await becomes_limited(asking(client, "GET", LOCATION, headers=headers))
    await becomes_limited(lambda _: client.handshake("/ws", headers=headers))
    await becomes_limited(asking(client, "POST", "/api/login", headers=headers, body=b"{}"))
    for path in ("/livez", "/readyz", "/health", "/api-docs", "/openapi.json"):
        assert (await client.request("GET", path, headers=headers)).status == 200, path
    assert (await client.request("GET", "/api/live", headers=from_address())).status == 401


async def test_a_made_up_token_makes_nobody_known(client):
    headers = from_address()
    _, refused = await flood(
        lambda number: client.request("GET", "/api/live", headers=headers, token=f"fwu_{number:043}"), *ANONYMOUS
    )
    limited(refused[0], "anonymous", 100, 60)


async def test_who_is_known_is_not_held_up_by_strangers_at_the_same_address(client, tenant):
    headers = from_address()
    await flood(asking(client, headers=headers), *ANONYMOUS)
    answer = await client.request("GET", "/api/live", headers=headers, token=tenant.dispatcher)
    assert answer.status == 200
    assert remaining(answer) == ("api", 1_499)
    sent = await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest, headers=headers)
    assert sent.receipt == (1, 0, {})
    assert "RateLimit" not in sent.headers


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_claimed_address_does_not_help_without_a_trusted_proxy(bare_server, session, header):
    client = Client(bare_server.url, session)

    def ask(number):
        claim = f"203.0.113.{number}"
        return client.request("GET", "/api/live", headers={header: f"for={claim}" if header == "Forwarded" else claim})

    await becomes_limited(ask) if header != "X-Forwarded-For" else await flood(ask, *ANONYMOUS)


async def test_what_the_client_wrote_before_its_proxy_does_not_help(client):
    address = from_address()["X-Forwarded-For"]

    def ask(number):
        return client.request("GET", "/api/live", headers={"X-Forwarded-For": f"203.0.113.{number}, {address}"})

    await flood(ask, *ANONYMOUS)


async def test_a_home_with_many_ipv6_addresses_is_one_client(client):
    def ask(number):
        return client.request("GET", "/api/live", headers=from_address(f"2001:db8:0:7:{number:x}::{number:x}"))

    await flood(ask, *ANONYMOUS)
    assert (await client.request("GET", "/api/live", headers=from_address("2001:db8:0:8::1"))).status == 401


async def test_a_name_has_ten_logins_a_minute_and_an_address_thirty(client, tenant):
    await asyncio.to_thread(tenant.user, "sam", "viewer")
    headers = {**from_address(), "Content-Type": "application/json"}

    def log_in(user, headers=headers, password="wrong"):
        form = json.dumps({"tenant": tenant.name, "user": user, "password": password}).encode()
        return client.request("POST", "/api/login", body=form, headers=headers)

    through, refused = await flood(lambda _: log_in("sam"), 10, 10 / 60)
    assert {answer.status for answer in through} == {401}
    assert limited(refused[0], "login", 10, 60, "login_rate") <= 6
    elsewhere = {**headers, **from_address()}
    _, refused = await flood(lambda number: log_in(f"user-{number}", elsewhere), 30, 30 / 60)
    assert limited(refused[0], "login_address", 30, 60, "login_rate") <= 2
    assert (await log_in("sam", {**headers, **from_address()}, PASSWORD)).status == 200


@pytest.mark.parametrize("path", ["/api/session/renew", "/api/logout", "/api//session/renew/"])
async def test_other_credential_routes_have_a_hundred_in_a_quarter_of_an_hour(client, path):
    through, refused = await flood(asking(client, "POST", path, headers=from_address()), 100, 100 / 900)
    assert {answer.refusal for answer in through} == {(401, "token_missing")}
    assert limited(refused[0], "credential", 100, 900) <= 9


# -- each limit, made small -----------------------------------------------------------------------------------------

SMALL_LIMITS = ["health", "pages", "api", "api_customer", "api_tenant", "metrics", "ingest", "ingest_tenant"]


@pytest.fixture(scope="module")
def small_server(module_database):
    limits = [f"{name}{'' if name in {'health', 'pages'} else f'@{name}'}={SMALL}/1" for name in SMALL_LIMITS]
    limits += ["fixes@fixes=100/4:100", "fixes_tenant@fixes_tenant=100/4:100", "feed@feed=2/60", "api@off=off"]
    yield from running_server(module_database, {**PROXY, "FLEETWIRE_LIMITS": ", ".join(limits)})


@pytest.fixture
def small_client(small_server, session):
    return Client(small_server.url, session)


@pytest.mark.parametrize("policy", SMALL_LIMITS)
async def test_each_limit_is_met_and_recovers(small_client, module_database, policy):
    headers, path, token = from_address(), "/api/session", None
    if policy in {"health", "pages"}:
        path = {"health": "/readyz", "pages": "/openapi.json"}[policy]
    else:
        tenant = await asyncio.to_thread(Tenant, module_database, policy)
        token = {
            "api_customer": await tenant.issue_async("user", "cora", "customer"),
            "ingest": await tenant.issue_async("device", "van"),
            "ingest_tenant": tenant.ingest,
        }.get(policy, tenant.admin if policy == "metrics" else tenant.dispatcher)
        path = "/metrics" if policy == "metrics" else path

    _, refused = await flood(asking(small_client, path=path, headers=headers, token=token), SMALL, SMALL)
    assert limited(refused[0], policy, SMALL, 1) == 1
    await asyncio.sleep(1)
    assert (await small_client.request("GET", path, headers=headers, token=token)).status == 200


@pytest.mark.parametrize("policy", ["fixes", "fixes_tenant"])
async def test_fixes_are_limited_by_their_number_and_none_is_lost(small_client, module_database, policy):
    tenant = await asyncio.to_thread(Tenant, module_database, policy)
    first, second = ([fix(timestamp=1763768400000 + 1000 * (start + at)) for at in range(80)] for start in (0, 80))
    assert (await small_client.send({"device": "van", "fixes": first}, token=tenant.ingest)).receipt == (80, 0, {})
    other = {"device": "van" if policy == "fixes" else "bus", "fixes": second}
    wait_secs = limited(await small_client.send(other, token=tenant.ingest), policy, 100, 4)
    await asyncio.sleep(wait_secs)
    assert (await small_client.send(other, token=tenant.ingest)).receipt == (80, 0, {})


async def test_a_socket_says_which_batch_was_limited_and_takes_it_later(small_client, module_database):
    tenant = await asyncio.to_thread(Tenant, module_database, "fixes")
    token = await tenant.issue_async("device", "bike")
    first, second = ([fix(timestamp=1763768400000 + 1000 * (start + at)) for at in range(80)] for start in (0, 80))
    async with small_client.socket("/ws", token=token) as socket:
        await socket.send({"type": "batch", "id": "1", "fixes": first})
        assert (await socket.receive_type("receipt"))["stored"] == 80
        batch = {"type": "batch", "id": "2", "fixes": second}
        await socket.send(batch)
        error = await socket.receive_type("error")
        assert (error["id"], error["code"], error["status"]) == ("2", "rate_limited", 429)
        await asyncio.sleep(error["retry_after_secs"])
        await socket.send(batch)
        assert (await socket.receive_type("receipt"))["stored"] == 80


async def test_a_dispatchers_messages_are_limited_and_the_feed_goes_on(small_client, module_database):
    tenant = await asyncio.to_thread(Tenant, module_database, "feed")
    async with small_client.socket("/ws/dispatch", token=tenant.dispatcher) as socket:
        codes = []
        while "rate_limited" not in codes and len(codes) < 20:
            await socket.send({"type": "watch", "area": [0]})
            codes.append((await socket.receive_type("error")).get("code"))
        assert codes[-1] == "rate_limited"
        assert len(codes) == 3


async def test_a_limit_can_be_off_for_one_tenant(small_client, module_database):
    tenant = await asyncio.to_thread(Tenant, module_database, "off")
    answer = await small_client.get("/api/session", token=tenant.dispatcher)
    assert answer.status == 200
    assert "RateLimit" not in answer.headers


async def test_decisions_are_in_the_metrics(client, tenant):
    await flood(asking(client, headers=from_address()), *ANONYMOUS)
    text = (await client.get("/metrics", token=tenant.admin)).body.decode()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("fleetwire_limits"))
    assert float(figures['fleetwire_limits_decisions_total{limit="anonymous",outcome="allowed"}']) >= 100
    assert float(figures['fleetwire_limits_decisions_total{limit="anonymous",outcome="limited"}']) >= 1
    assert float(figures["fleetwire_limits_keys"]) >= 1
    assert float(figures["fleetwire_limits_evictions_total"]) == 0
