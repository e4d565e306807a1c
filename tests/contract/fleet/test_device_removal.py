"""A device that is removed leaves nothing in the database; a driver's device is not removed."""

from datetime import UTC, datetime

import pytest

from fleetwire.errors import Problem
from fleetwire.fleet.devices import removal
from fleetwire.fleet.devices.removal import list_devices, remove_device
from fleetwire.store.maintenance.compaction import Compaction
from fleetwire.store.maintenance.job import at_once
from harness.writing import at, fixes_of

DAY_MILLIS = 86_400_000
START_MILLIS = int(datetime(2025, 11, 20, tzinfo=UTC).timestamp() * 1000)


async def test_its_fixes_tokens_and_orders_go_with_it_in_small_steps(owner, acme, rival, write, monkeypatch):
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", 3)
    gone, stays, *_ = acme.device_ids
    for device in (gone, stays):
        for day in range(3):
            start = START_MILLIS + day * DAY_MILLIS
            await write.store_in_batches(device, at(range(start, start + 20_000, 1_000)), 2)
        await owner.execute(
            "INSERT INTO order_device (tenant_id, order_name, device_id) VALUES ($1, 'order', $2)",
            acme.tenant_id,
            device,
        )
        await owner.execute(
            "INSERT INTO credential (tenant_id, kind, token_hash, device_id) "
            "VALUES ($1, 'device', sha256($2::text::bytea), $3)",
            acme.tenant_id,
            str(device),
            device,
        )
    compaction = Compaction(owner, merge_after_secs=0, pace=at_once)
    await compaction.run(now_millis=START_MILLIS + 2 * DAY_MILLIS)
    assert await remove_device(owner, "acme", "truck-1") == 60
    assert {row[1] for row in await fixes_of(owner)} == {"truck-2"}
    assert len(await fixes_of(owner)) == 60
    for table in ("device", "live_position", "order_device", "credential", "track_segment", "track_merged"):
        left = await owner.fetch(f"SELECT DISTINCT device_id FROM {table} WHERE tenant_id = $1", acme.tenant_id)
        assert gone not in {row[0] for row in left}, table
    assert await owner.fetchval("SELECT detail ->> 'fixes' FROM audit_log WHERE action = 'device.remove'") == "60"
    listed = await list_devices(owner, "acme")
    assert [each.name for each in listed] == ["truck-2", "truck-3", "truck-4", "truck-5"]
    assert listed[0].last_fixed_at == "2025-11-22T00:00:19+00:00"
    assert "truck-1" in {each.name for each in await list_devices(owner, "rival")}


async def test_what_is_not_there_or_a_drivers_is_not_removed(owner, acme, write):
    await write.store(acme.device_ids[0], at([START_MILLIS]))
    await owner.execute(
        "INSERT INTO app_user (tenant_id, name, role, device_id) VALUES ($1, 'eva', 'driver', $2)",
        acme.tenant_id,
        acme.device_ids[0],
    )
    for tenant, name, code in (
        ("acme", "truck-1", "device_in_use"),
        ("acme", "no such", "device_unknown"),
        ("nobody", "truck-1", "tenant_unknown"),
    ):
        with pytest.raises(Problem) as caught:
            await remove_device(owner, tenant, name)
        assert caught.value.code == code
    assert len(await fixes_of(owner)) == 1
