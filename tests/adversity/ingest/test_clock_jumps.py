"""The server's clock jumps by an hour, forward and back: fixes stay exactly once, the present only moves forward."""

import asyncio

import pytest

from harness.clocks import HOUR_MILLIS, ShiftedClock
from harness.database import rows
from harness.fixes import fix, now_millis, track
from harness.ledger import Ledger
from harness.process import serving
from harness.senders import HEAL_SECS, sending
from harness.tenants import PASSWORD

MINUTE_MILLIS = 60_000
MERGED = "SELECT count(*) FROM track_merged JOIN tenant AS t USING (tenant_id) WHERE t.name = $1"


@pytest.fixture(scope="module")
def clock(session_dir):
    return ShiftedClock(session_dir)


@pytest.fixture(scope="module")
def server(module_database, clock):
    # Upkeep goes by the same clock: it merges at its own pace while the hours jump.
    with serving(
        "--database-url", module_database, settings={**clock.settings, "FLEETWIRE_UPKEEP_SECS": "0.2"}
    ) as running:
        yield running
        assert running.stop() == 0
        assert running.faults() == []


@pytest.fixture(autouse=True)
def right_again(clock):
    yield
    clock.jump_to(hours=0)


async def test_receipts_go_on_and_stay_true_while_the_clock_jumps(client, tenant, clock):
    ledger = Ledger()
    async with sending([client], tenant.ingest, ledger) as senders:
        for hours in (1, 0, -1, 0, 1, -1, 0):
            clock.jump_to(hours=hours)
            await senders.acknowledged(30)
    assert ledger.refusals == {}
    assert ledger.lost == 0
    await ledger.verify(tenant.dsn, tenant.name)


async def test_what_a_clock_far_ahead_merged_too_early_is_still_stored_once(client, tenant, clock):
    ledger, fixes = Ledger(), track(500)
    for start in range(0, len(fixes), 5):
        await ledger.send(client, tenant.ingest, "van", fixes[start : start + 5])
    clock.jump_to(hours=25)
    async with asyncio.timeout(HEAL_SECS):
        while not (await rows(tenant.dsn, MERGED, tenant.name))[0][0]:
            await asyncio.sleep(0.1)
    clock.jump_to(hours=0)
    late = [fix(each["timestamp"] + 500) for each in fixes]
    answer = await ledger.send(client, tenant.ingest, "van", [*fixes, *late])
    assert answer.receipt == (len(late), len(fixes), {})
    await ledger.verify(tenant.dsn, tenant.name)


async def test_future_is_judged_by_the_clock_of_the_server(client, tenant, clock):
    ledger, base = Ledger(), now_millis()

    async def told(minutes):
        """Sends one fix of a time relative to the right one: stored, duplicate, or the code of its refusal."""
        sent = fix(base + minutes * MINUTE_MILLIS, latitude=48 + minutes / 1000)
        stored, duplicate, rejected = (await ledger.send(client, tenant.ingest, "van", [sent])).receipt
        return rejected.get(0) or ("stored" if stored else "duplicate" if duplicate else None)

    assert await told(-1) == "stored"
    assert await told(30) == "timestamp_future"
    clock.jump_to(hours=1)
    assert await told(30) == "stored"
    assert await told(90) == "timestamp_future"
    assert await told(0) == "stored", "late, now that the device was seen at half past"
    clock.jump_to(hours=0)
    assert await told(30) == "timestamp_future", "already stored, but no longer believed"
    assert await told(0) == "duplicate"
    assert await told(1) == "stored"
    clock.jump_to(hours=-1)
    assert await told(0) == "timestamp_future"
    assert await told(-2) == "timestamp_future"
    assert await told(-61) == "stored"
    clock.jump_to(hours=0)
    assert await told(-61) == "duplicate"
    await ledger.verify(tenant.dsn, tenant.name)


async def test_present_only_moves_forward(client, tenant, clock):
    seen, base = [], now_millis()

    async def watch():
        async with client.socket("/ws/dispatch", token=tenant.dispatcher) as feed:
            await feed.send({"type": "watch"})
            while True:
                message = await feed.receive(within_secs=60)
                seen.extend(each["timestamp"] for each in message.get("positions", ()))

    async def live():
        exact = {"Cache-Control": "no-cache"}
        answer = await client.request("GET", "/api/live", token=tenant.dispatcher, headers=exact)
        (feature,) = answer.json["features"]
        return feature["properties"]["timestamp"]

    async def stored():
        statement = (
            "SELECT (extract(epoch FROM last_fixed_at) * 1000)::bigint FROM live_position "
            "JOIN tenant AS t USING (tenant_id) WHERE t.name = $1"
        )
        return (await rows(tenant.dsn, statement, tenant.name))[0][0]

    watching, newest = asyncio.ensure_future(watch()), 0
    for hours, ahead_minutes in [(0, 0), (1, 55), (0, 1), (-1, -65), (0, 2), (1, 56), (0, 3)]:
        clock.jump_to(hours=hours)
        at = base + ahead_minutes * MINUTE_MILLIS
        receipt = (await client.send({"device": "van", "fixes": [fix(at)]}, token=tenant.ingest)).receipt
        assert receipt == (1, 0, {})
        newest = max(newest, at)
        assert (await live(), await stored()) == (newest, newest)
        async with asyncio.timeout(20):
            while newest not in seen:
                await asyncio.sleep(0.05)
    watching.cancel()
    assert seen == sorted(seen)


@pytest.mark.parametrize("hours", [1, -1, 25])
async def test_partitions_follow_the_fixes_and_not_the_clock(client, tenant, clock, hours):
    ledger = Ledger()
    for device, ahead_hours in (("van", hours), ("bus", 0)):
        clock.jump_to(hours=ahead_hours)
        start = clock.now_millis() - HOUR_MILLIS
        fixes = [fix(start + step * 4 * MINUTE_MILLIS) for step in range(15)]
        assert (await ledger.send(client, tenant.ingest, device, fixes)).receipt == (15, 0, {})
    await ledger.verify(tenant.dsn, tenant.name)


async def _look(client, token):
    return await client.get("/api/live", token=token)


async def test_credentials_go_by_the_clock_and_come_back_with_it(client, tenant, clock):
    brief = await tenant.issue_async("user", "bob", "viewer", life_secs=1800)
    await asyncio.to_thread(tenant.user, "eve", "dispatcher")
    session = (await client.login(tenant.name, "eve", PASSWORD)).json
    login = session["token"]
    unlimited = tenant.dispatcher
    for token in (brief, login, unlimited):
        assert (await _look(client, token)).status == 200

    clock.jump_to(hours=1)
    assert (await _look(client, unlimited)).status == 200
    for token in (brief, login):
        assert (await _look(client, token)).refusal == (401, "token_expired")
    # The session's own life is told by the database, whose clock is right.
    session = (await client.request("POST", "/api/session/renew", token=session["refresh_token"])).json
    renewed = session["token"]
    assert (await _look(client, renewed)).status == 200

    clock.jump_to(hours=0)
    for token in (brief, login, unlimited):
        assert (await _look(client, token)).status == 200, "what had only seemed to have expired is good again"
    assert (await _look(client, renewed)).refusal == (401, "token_invalid"), "signed in a future that did not come"
    again = (await client.request("POST", "/api/session/renew", token=session["refresh_token"])).json["token"]
    assert (await _look(client, again)).status == 200
    await tenant.revoke(brief)
    async with asyncio.timeout(20):
        while (await _look(client, brief)).status == 200:
            await asyncio.sleep(0.05)
    clock.jump_to(hours=-1)
    assert (await _look(client, brief)).refusal == (401, "token_revoked")
    assert (await _look(client, unlimited)).status == 200
    assert (await client.login(tenant.name, "eve", PASSWORD)).status == 200


async def test_credential_made_after_a_jump_back_is_known_at_once(client, tenant, clock):
    clock.jump_to(hours=1)
    made = {"device": "van", "fixes": [fix()]}
    assert (await client.send(made, token=tenant.ingest)).status == 200
    clock.jump_to(hours=0)
    fresh = await tenant.issue_async("ingest")
    assert (await client.send(made, token=fresh)).receipt == (0, 1, {})
    assert (await client.get("/health")).json["status"] == "ok"
