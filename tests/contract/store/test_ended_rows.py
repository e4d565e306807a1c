"""Rows of what has ended go: tokens after 30 days, devices of orders that nobody ended, and nothing else."""

import asyncio

import asyncpg
import pytest

from fleetwire.fleet.orders import store
from fleetwire.settings import Settings
from fleetwire.store.maintenance import ended_rows
from fleetwire.store.maintenance.job import at_once
from fleetwire.store.maintenance.rounds import run_once


async def test_tokens_go_thirty_days_after_their_end(database, owner, acme):
    ends = {
        "living": (None, None),
        "living with an end": (10, None),
        "expired": (-31, None),
        "expired just now": (-29, None),
        "revoked": (None, -31),
        "revoked just now": (10, -29),
        "revoked long before its end": (400, -31),
    }
    for label, (expires, revoked) in ends.items():
        await owner.execute(
            "INSERT INTO credential (tenant_id, kind, label, token_hash, expires_at, revoked_at) VALUES ($1, 'ingest', "
            "$2::text, sha256($2::text::bytea), now() + make_interval(days => $3), now() + make_interval(days => $4))",
            acme.tenant_id,
            label,
            expires,
            revoked,
        )
    assert (await run_once(database, Settings())).ended_credentials == 3
    left = await owner.fetch("SELECT label FROM credential ORDER BY credential_id")
    assert [row[0] for row in left] == ["living", "living with an end", "expired just now", "revoked just now"]


async def test_devices_of_orders_that_nobody_ended_go_and_workers_are_notified(database, owner, acme, monkeypatch):
    monkeypatch.setattr(ended_rows, "ROWS_AT_ONCE", 2)
    for device, (order, days) in enumerate([("old", 91), ("old", 95), ("half", 91), ("half", 3), ("new", 0)]):
        await owner.execute(
            "INSERT INTO order_device (tenant_id, order_name, device_id, assigned_at) "
            "VALUES ($1, $2, $3, now() - make_interval(days => $4))",
            acme.tenant_id,
            order,
            acme.device_ids[device],
            days,
        )
    heard = []
    listener = await asyncpg.connect(database)
    await listener.add_listener(store.CHANNEL, lambda *note: heard.append(note[3]))
    assert await ended_rows.delete_order_devices(owner, days=0, pace=at_once) == (0, True)
    assert (await run_once(database, Settings(order_retention_days=90))).idle_order_devices == 3
    left = await owner.fetch("SELECT order_name FROM order_device ORDER BY device_id")
    assert [row[0] for row in left] == ["half", "new"]
    async with asyncio.timeout(10):
        while len(heard) < 2:
            await asyncio.sleep(0.01)
    await listener.close()
    assert set(heard) == {f"{acme.tenant_id} old", f"{acme.tenant_id} half"}


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_stopped_job_says_whether_something_is_left(owner, acme, monkeypatch, goes_on):
    monkeypatch.setattr(ended_rows, "ROWS_AT_ONCE", 1)
    for number in range(2):
        await owner.execute(
            "INSERT INTO credential (tenant_id, kind, token_hash, revoked_at) "
            "VALUES ($1, 'ingest', sha256($2::text::bytea), now() - interval '1 year')",
            acme.tenant_id,
            str(number),
        )

    async def pace(_):
        return goes_on

    done = await ended_rows.delete_credentials(owner, pace=pace)
    assert done == ((2, True) if goes_on else (1, False))
