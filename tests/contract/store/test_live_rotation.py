"""A commit visits a bounded number of versions of its devices' live positions, however old the oldest snapshot is."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fleetwire.postgres import statements
from fleetwire.postgres.pinned_connection import PLANNER
from fleetwire.store.maintenance.snapshots import SnapshotWatch

INGEST = statements.load("store/ingest")
START = datetime(2025, 11, 20, tzinfo=UTC)
DEVICES = 60
ROTATION_MOVES = 32
BLOCKS = """
SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read
FROM pg_statio_user_tables WHERE relname = 'live_position'
"""


class MovingDevices:
    """Devices that move together, in groups over one connection."""

    def __init__(self, connection, tenant_id, device_ids):
        self.connection = connection
        self._tenant_id = tenant_id
        self._device_ids = sorted(device_ids)
        self.moves = 0

    async def move(self, times=1):
        for _ in range(times):
            assert await self.store(self.moves, self.moves + 1) is None
            self.moves += 1

    async def store(self, known, move):
        """Answers the watermarks if they are not those of a move that is `known`."""
        known_millis = [round(self._at(known).timestamp() * 1000) if known else None] * len(self._device_ids)
        positions = [
            (self._tenant_id, device, self._at(move), move, 2, None, None, None, None, None, self._at(move))
            for device in self._device_ids
        ]
        arrays = [[self._tenant_id] * len(self._device_ids), self._device_ids, known_millis]
        texts = ["{" + ",".join("NULL" if each is None else str(each) for each in array) + "}" for array in arrays]
        return await self.connection.fetchval(INGEST["store_group"], *texts, [], positions)

    def _at(self, move):
        return START + timedelta(seconds=move)


@pytest.fixture
async def fleet(database, owner, acme):
    names = [f"van-{number}" for number in range(DEVICES)]
    await owner.execute("UPDATE tenant SET device_limit = 1000")
    found = await owner.fetch(statements.load("store/device")["create_devices"], acme.tenant_id, names)
    settings = {**PLANNER, "role": "fleetwire_ingest"}
    connection = await asyncpg.connect(database, server_settings=settings)
    yield MovingDevices(connection, acme.tenant_id, [row["device_id"] for row in found])
    await connection.close()


async def blocks(fleet, owner, times):
    """Pages that a group reads of live positions and their index, on average."""

    async def read():
        await fleet.connection.execute("SELECT pg_stat_force_next_flush()")
        await fleet.connection.execute("SELECT 1")
        return await owner.fetchval(BLOCKS)

    before = await read()
    await fleet.move(times)
    return (await read() - before) / times


async def test_commits_read_no_more_pages_after_many_moves_beside_an_old_snapshot(fleet, owner, database):
    await fleet.move(ROTATION_MOVES)
    reader = await asyncpg.connect(database)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetchval("SELECT count(*) FROM live_position")
        await fleet.move(2 * ROTATION_MOVES)
        few = await blocks(fleet, owner, ROTATION_MOVES)
        await fleet.move(20 * ROTATION_MOVES)
        many = await blocks(fleet, owner, ROTATION_MOVES)
        assert many < 1.5 * few
        # The snapshot still sees what it saw.
        assert await reader.fetchval("SELECT max(lat_e7) FROM live_position") == ROTATION_MOVES
    await reader.close()
    assert await owner.fetchval("SELECT count(*) FROM live_position WHERE lat_e7 = $1", fleet.moves) == DEVICES


@pytest.mark.parametrize("moves", range(ROTATION_MOVES - 2, ROTATION_MOVES + 2))
async def test_who_waits_for_a_row_whose_key_changes_meanwhile_gets_its_newest_watermark(
    fleet, owner, database, acme, moves
):
    await fleet.move(moves)
    other = await asyncpg.connect(database, server_settings={**PLANNER, "role": "fleetwire_ingest"})
    transaction = fleet.connection.transaction()
    await transaction.start()
    await fleet.move()
    late = asyncio.create_task(MovingDevices(other, acme.tenant_id, fleet._device_ids).store(moves, moves + 9))
    await asyncio.sleep(0.2)
    assert not late.done()
    await transaction.commit()
    newest = round(fleet._at(moves + 1).timestamp() * 1000)
    assert await late == [newest] * DEVICES
    await other.close()
    of_fleet = "SELECT count(*), count(DISTINCT device_id), max(lat_e7) FROM live_position WHERE lat_e7 IS NOT NULL"
    assert tuple(await owner.fetchrow(of_fleet)) == (DEVICES, DEVICES, moves + 1)


async def test_a_device_that_is_created_by_two_at_once_has_one_live_position(database, owner, acme):
    create = statements.load("store/device")["create_devices"]
    connections = [await asyncpg.connect(database) for _ in range(4)]
    for attempt in range(5):
        await asyncio.gather(*(each.fetch(create, acme.tenant_id, [f"new-{attempt}"]) for each in connections))
    for each in connections:
        await each.close()
    assert await owner.fetchval(
        "SELECT count(*) = count(DISTINCT device_id) AND count(DISTINCT device_id) >= 5 FROM live_position"
    )


async def test_an_old_snapshot_is_named_with_its_process(owner, database):
    watch = SnapshotWatch(old_secs=0.05)
    reader = await asyncpg.connect(database)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetchval("SELECT 1")
        await asyncio.sleep(0.2)
        await watch.measure(owner)
        (sentence,) = watch.warnings()
        pid = reader.get_server_pid()
        assert sentence.startswith(f"The session with process id {pid} has held an old snapshot for 0 min: ")
    await watch.measure(owner)
    assert watch.warnings() == []
    await reader.close()


async def test_a_role_that_is_not_shown_other_sessions_says_so(database):
    watch = SnapshotWatch(old_secs=60)
    connection = await asyncpg.connect(database, server_settings={"role": "fleetwire_app"})
    await watch.measure(connection)
    (sentence,) = watch.warnings()
    assert "grant pg_read_all_stats" in sentence
    await connection.close()
