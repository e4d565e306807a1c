"""Every valid fix is stored once: whatever the order, however it is sliced, whoever sends it again, and across kills.

What must be stored is counted from the file by `harness.traces`, without any code of the package.
"""

import asyncio
import json
import random

import asyncpg
import pytest

from fleetwire.client import BatchClient
from fleetwire.replay import ReplayOptions, replay
from harness import traces
from harness.database import temporary_database
from harness.process import Server, run
from harness.tenants import Tenant

ROWS_OF_EACH_FILE = 4_000
SENDERS = 8


@pytest.fixture(params=["synthetic", pytest.param("real", marks=pytest.mark.traces)])
def rows(request):
    """A made-up trace, and a part of each real one."""
    if request.param == "synthetic":
        return traces.synthetic()
    return list(traces.read(traces.real_files(), limit=ROWS_OF_EACH_FILE))


@pytest.fixture
def best_rows():
    """The real ones where they are, for a test that takes too long to run with both."""
    if traces.present():
        return list(traces.read(traces.real_files(), limit=ROWS_OF_EACH_FILE))
    return traces.synthetic(rows=12_000)


@pytest.fixture
def path(rows, tmp_path):
    return traces.write(tmp_path / "trace.csv.gz", rows)


@pytest.fixture
def replayed(server, tenant, path):
    """Replays the trace and checks that the receipts add up."""

    async def replayed(**options):
        summary = await replay(
            ReplayOptions(files=(str(path),), url=server.url, token=tenant.ingest, show_progress=False, **options)
        )
        assert summary.rows_unreadable == 0
        assert summary.stored + summary.duplicate + sum(summary.rejected.values()) == summary.sent
        return summary

    return replayed


async def test_second_replay_stores_nothing(tenant, replayed, rows):
    expected = traces.Expected.of(rows)
    first = await replayed()
    assert (first.sent, first.stored, first.duplicate) == (expected.sent, expected.distinct, expected.duplicate)
    second = await replayed(batch_size=333)
    assert (second.sent, second.stored) == (expected.sent, 0)
    assert second.duplicate == expected.sent - expected.rejected
    assert first.rejected == second.rejected
    await expected.check(tenant.dsn, tenant.name)


@pytest.mark.parametrize("batch_size", [7, 500])
async def test_shuffled_rows_are_stored_once(tenant, replayed, rows, batch_size):
    expected = traces.Expected.of(rows)
    summary = await replayed(shuffle_seed=3, batch_size=batch_size, overlap=0.2)
    assert summary.stored == expected.distinct
    assert summary.sent > expected.sent * 1.1
    await expected.check(tenant.dsn, tenant.name)


@pytest.mark.parametrize("batch_size", [1, 7, 500])
async def test_size_of_a_batch_changes_nothing(tenant, replayed, rows, batch_size):
    limit = 2_000 if batch_size == 1 else len(rows)
    expected = traces.Expected.of(rows[:limit])
    summary = await replayed(batch_size=batch_size, limit_rows=limit, senders=16)
    assert (summary.sent, summary.stored) == (limit, expected.distinct)
    await expected.check(tenant.dsn, tenant.name)


async def test_senders_that_overlap_share_the_fixes_among_them(server, tenant, rows):
    expected = traces.Expected.of(rows)
    slice_rows = len(rows) // SENDERS
    totals = [0, 0, 0]

    async def send(number):
        """Its own slice and the next two, in batches of a size that nobody else has, in an order of its own."""
        mine = [rows[place % len(rows)] for place in range(number * slice_rows, (number + 3) * slice_rows)]
        if number == SENDERS - 1:
            mine += rows[SENDERS * slice_rows :]
        bodies = traces.batches(mine, 50 + 37 * number)
        random.Random(number).shuffle(bodies)
        async with BatchClient(server.url, tenant.ingest, connections=1) as sender:
            for body, fixes in bodies:
                receipt = (await sender.post(body, give_up_secs=30)).receipt
                assert receipt.fixes == fixes
                totals[0] += receipt.stored
                totals[1] += receipt.duplicate
                totals[2] += fixes

    await asyncio.gather(*map(send, range(SENDERS)))
    assert totals[2] >= 2.9 * len(rows)
    assert totals[0] == expected.distinct
    await expected.check(tenant.dsn, tenant.name)


async def test_server_killed_in_the_middle_loses_and_repeats_nothing(
    postgres_dsn, migrated_template, best_rows, tmp_path
):
    expected = traces.Expected.of(best_rows)
    path = traces.write(tmp_path / "trace.csv.gz", best_rows)
    kills = 3
    with temporary_database(postgres_dsn, migrated_template) as dsn:
        company = await asyncio.to_thread(Tenant, dsn)
        server = await asyncio.to_thread(Server("--database-url", dsn).start)
        options = ReplayOptions(
            files=(str(path),),
            url=server.url,
            token=company.ingest,
            show_progress=False,
            batch_size=20,
            senders=SENDERS,
        )
        running = asyncio.ensure_future(replay(options))
        for kill in range(kills):
            await _until_stored(dsn, expected.distinct * (kill + 1) // (kills + 2))
            assert not running.done()
            await asyncio.to_thread(server.kill)
            server.close()
            server = await asyncio.to_thread(Server("--database-url", dsn, port=server.port).start)
        summary = await running
        assert server.stop() == 0
        assert server.faults() == []
        server.close()
        assert summary.sent == expected.sent
        assert summary.stored + summary.duplicate + sum(summary.rejected.values()) == summary.sent
        assert summary.retries > 0
        # A receipt that was lost on the way makes its fixes duplicates of the second try; no other way is open.
        assert expected.distinct - kills * SENDERS * 20 <= summary.stored <= expected.distinct
        await expected.check(dsn, company.name)


async def _until_stored(dsn, fixes):
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(60):
            while (await connection.fetchval("SELECT coalesce(sum(fix_count), 0) FROM track_segment")) < fixes:
                await asyncio.sleep(0.005)
    finally:
        await connection.close()


@pytest.mark.traces
def test_every_real_fix_is_stored_once_and_a_second_time_never(server, tenant):
    """The whole of the recorded traces, by the command line, as fast as possible."""
    files = traces.real_files()
    arguments = ("replay", *files, "--url", server.url, "--token", tenant.ingest, "--json")
    first = json.loads(run(*arguments, limit_secs=100).stdout)
    expected = traces.Expected.of(traces.read(files))
    assert expected.sent > 600_000
    assert (first["sent"], first["stored"], first["rejected"]) == (expected.sent, expected.distinct, {})
    assert first["duplicate"] == expected.duplicate
    asyncio.run(expected.check(tenant.dsn, tenant.name))
    again = json.loads(run(*arguments, limit_secs=100).stdout)
    assert (again["sent"], again["stored"], again["duplicate"]) == (expected.sent, 0, expected.sent)
