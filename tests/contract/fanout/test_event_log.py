"""The log of events: it is what committed, numbered without a gap, and forgets from its old end only."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fleetwire.errors import Problem
from fleetwire.fanout.events import event_log
from fleetwire.fleet.orders import store
from fleetwire.postgres.pool import open_pool, tenant_transaction
from fleetwire.store.maintenance import row_expiry
from fleetwire.store.maintenance.row_expiry import expire_events

DAY_MILLIS = 86_400_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MILLIS = int(NOW.timestamp() * 1000)


@pytest.fixture
async def pool(database):
    opened = await open_pool(database, "fleetwire_app", 1, 8)
    yield opened
    await opened.close()


async def publish(connection, tenant_id, text="x", **members):
    payload = b'{"text":"%s"}' % text.encode()
    given = {"room": "dispatch", "kind": "message", "payload": payload, "actor": "user:eva"} | members
    return await event_log.publish(connection, tenant_id, **given)


async def numbers(pool, tenant_id, **wanted):
    return [event.seq for event in await event_log.page(pool, tenant_id, **{"after_seq": 0, "rooms": None} | wanted)]


async def at_once(_):
    return True


async def test_event_of_a_transaction_that_fails_never_was_and_leaves_no_gap(pool, acme):
    async with tenant_transaction(pool, acme.tenant_id) as connection:
        assert (await publish(connection, acme.tenant_id)).seq == 1

    async def fail():
        async with tenant_transaction(pool, acme.tenant_id) as connection:
            assert (await publish(connection, acme.tenant_id)).seq == 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with tenant_transaction(pool, acme.tenant_id) as connection:
        assert [(await publish(connection, acme.tenant_id)).seq for _ in range(2)] == [2, 3]
    assert await numbers(pool, acme.tenant_id) == [1, 2, 3]
    assert await event_log.span(pool, acme.tenant_id) == (3, 1)


async def test_whoever_reads_a_number_reads_all_below_it(pool, acme):
    """Transactions of uneven length race while a reader follows; what it sees never has a hole."""

    async def write(pause_secs):
        async with tenant_transaction(pool, acme.tenant_id) as connection:
            await publish(connection, acme.tenant_id)
            await asyncio.sleep(pause_secs)

    async def follow():
        seen = []
        while len(seen) < 40:
            seen += await numbers(pool, acme.tenant_id, after_seq=len(seen))
            assert seen == list(range(1, len(seen) + 1))

    await asyncio.gather(follow(), *(write(0.01 * (number % 3)) for number in range(40)))


async def test_tenants_count_for_themselves_and_do_not_wait_for_each_other(pool, acme, rival):
    async def publish_of_rival():
        async with tenant_transaction(pool, rival.tenant_id) as other:
            return await publish(other, rival.tenant_id)

    async with tenant_transaction(pool, acme.tenant_id) as connection:
        await publish(connection, acme.tenant_id)
        assert (await asyncio.create_task(publish_of_rival())).seq == 1
    assert await numbers(pool, acme.tenant_id) == await numbers(pool, rival.tenant_id) == [1]


async def test_worker_is_notified_at_the_commit_and_not_before(pool, owner, acme):
    heard = asyncio.Queue()
    await owner.add_listener(event_log.CHANNEL, lambda *notice: heard.put_nowait(notice[-1]))
    async with tenant_transaction(pool, acme.tenant_id) as connection:
        await publish(connection, acme.tenant_id)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(heard.get(), 0.2)
    assert await asyncio.wait_for(heard.get(), 10) == f"{acme.tenant_id} 1"


async def test_same_client_id_of_the_same_actor_is_the_first_event(pool, acme):
    async def once(actor):
        async with tenant_transaction(pool, acme.tenant_id) as connection:
            return await publish(connection, acme.tenant_id, client_id="c", actor=actor)

    stored = await asyncio.gather(*(once("a") for _ in range(8)))
    assert sorted(each.is_new for each in stored) == [False] * 7 + [True]
    assert len({(each.seq, each.recorded_millis) for each in stored}) == 1
    assert (await once("b")).seq == 2


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("dance", b"{}", "event_kind"),
        ("message", b'{"text":1}', "event_payload"),
        ("message", b"[]", "event_payload"),
        ("message", b'{"text":"a\\u0000"}', "event_payload"),
        ("message", b'{"text":"\xff"}', "event_payload"),
        ("message", b'{"text":"x"}' + b" " * 20_000, "event_payload"),
        ("message", b"[" * 10_000, "event_payload"),
    ],
)
async def test_payload_that_does_not_fit_its_kind_is_refused_and_nothing_is_stored(pool, acme, kind, payload, code):
    async with tenant_transaction(pool, acme.tenant_id) as connection:
        with pytest.raises(Problem) as refused:
            await publish(connection, acme.tenant_id, kind=kind, payload=payload)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert await event_log.span(pool, acme.tenant_id) == (0, 1)


async def test_pages_of_rooms(pool, acme):
    async with tenant_transaction(pool, acme.tenant_id) as connection:
        for number in range(9):
            await publish(connection, acme.tenant_id, room=("dispatch", "driver:a", "order:1")[number % 3])
    assert await numbers(pool, acme.tenant_id, rooms=["driver:a", "order:1"], after_seq=2, limit=3) == [3, 5, 6]
    assert await numbers(pool, acme.tenant_id, rooms=["driver:b"]) == []
    assert await numbers(pool, acme.tenant_id, after_seq=7) == [8, 9]


async def assign(pool, tenant_id, driver, *changes):
    """Tells a driver of assignments, one transaction each; the orders that have other devices by each."""
    changed = []
    for change in changes:
        order, state = change.split()
        payload = b'{"order":"%s","state":"%s"}' % (order.encode(), state.encode())
        async with tenant_transaction(pool, tenant_id) as connection:
            given = {"room": f"driver:{driver}", "kind": "assignment", "payload": payload, "client_id": change}
            changed.append((await publish(connection, tenant_id, **given)).order)
    return changed


CHANGES = ("1 assigned", "2 offered", "3 assigned", "1 withdrawn", "4 withdrawn", "4 assigned")


@pytest.mark.parametrize("driver", ["truck-2", "somebody without a device"])
async def test_orders_of_a_driver_are_those_not_withdrawn(pool, acme, driver):
    await assign(pool, acme.tenant_id, driver, *CHANGES)
    assert await store.orders_of(pool, acme.tenant_id, driver) == {"2", "3", "4"}
    assert await store.orders_of(pool, acme.tenant_id, "truck-3") == frozenset()


async def test_an_assignment_and_the_devices_of_an_order_agree(pool, owner, acme, rival):
    named = {
        row["name"]: row["device_id"]
        for row in await owner.fetch("SELECT * FROM device WHERE tenant_id = $1", acme.tenant_id)
    }
    first, second = named["truck-1"], named["truck-2"]

    async def put(order, *devices):
        await store.set_devices(pool, acme.tenant_id, order, devices, on_stored=lambda _: None)

    await put("1", "truck-1")
    assert await assign(pool, acme.tenant_id, "truck-2", *CHANGES, "3 assigned") == [
        ("1", sorted([first, second])), None, ("3", [second]), ("1", [first]), None, ("4", [second]), None,
    ]  # fmt: skip
    assert await store.orders_of(pool, acme.tenant_id, "truck-1") == {"1"}
    await put("4")
    await put("5", "truck-2", "truck-1")
    assert await store.orders_of(pool, acme.tenant_id, "truck-2") == {"2", "3", "5"}
    assert await store.orders_of(pool, rival.tenant_id, "truck-2") == frozenset()


async def test_an_assignment_that_is_sent_again_changes_nothing_again(pool, acme):
    await assign(pool, acme.tenant_id, "truck-2", "1 assigned")
    await store.set_devices(pool, acme.tenant_id, "1", [], on_stored=lambda _: None)
    assert await assign(pool, acme.tenant_id, "truck-2", "1 assigned") == [None]
    assert await store.orders_of(pool, acme.tenant_id, "truck-2") == frozenset()


async def test_retention_takes_the_oldest_and_keeps_the_count(pool, owner, acme, rival, monkeypatch):
    monkeypatch.setattr(row_expiry, "ROWS_AT_ONCE", 2)
    for fleet in (acme, rival):
        async with tenant_transaction(pool, fleet.tenant_id) as connection:
            for _ in range(7):
                await publish(connection, fleet.tenant_id)
        await owner.execute(
            "UPDATE event SET recorded_at = $2::timestamptz - (8 - seq) * interval '1 day' WHERE tenant_id = $1",
            fleet.tenant_id,
            NOW + timedelta(minutes=1),
        )
    assert await expire_events(owner, retention_days=0, now_millis=NOW_MILLIS, pace=at_once) == 0
    assert await expire_events(owner, retention_days=3, now_millis=NOW_MILLIS, pace=at_once) == 8
    for fleet in (acme, rival):
        assert await numbers(pool, fleet.tenant_id) == [5, 6, 7]
        assert await event_log.span(pool, fleet.tenant_id) == (7, 5)
    assert await expire_events(owner, retention_days=1, now_millis=NOW_MILLIS + 30 * DAY_MILLIS, pace=at_once) == 6
    assert await event_log.span(pool, acme.tenant_id) == (7, 8)
    async with tenant_transaction(pool, acme.tenant_id) as connection:
        assert (await publish(connection, acme.tenant_id)).seq == 8
