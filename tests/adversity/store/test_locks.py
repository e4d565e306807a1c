"""Rows locked by others, deadlocks, and a database that stands still, for longer than any limit of the server.

A setting shortens the server's patience, so that a few seconds are as long as half a minute is for a real one; the long
tests have the patience that it has by itself, and the half minute.
"""

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from harness.database import rows
from harness.fixes import fix, now_millis, track
from harness.ledger import Ledger
from harness.locks import begin, lock_positions, locked
from harness.own_postgres import own_postgres, processes
from harness.process import serving
from harness.senders import sending

ANSWER_SECS = 5  # longest that anything else than a group waits for the database
WRITERS = 2
AWAY = {(503, "database_unavailable"), (503, "access_unavailable")}


class Limits(NamedTuple):
    """How long the server tries a group, and how long the fault lasts."""

    give_up_secs: int
    hold_secs: int


SHORT = Limits(2, ANSWER_SECS + 2)
FULL = pytest.param(Limits(10, 30), marks=[pytest.mark.long, pytest.mark.timeout(300)], id="half_a_minute")
short_and_full = pytest.mark.parametrize("limits", [pytest.param(SHORT, id="short"), FULL], indirect=True)


@pytest.fixture(scope="module")
def limits(request):
    return getattr(request, "param", SHORT)


@pytest.fixture(scope="module")
def postgres():
    # Whoever looks for a deadlock first ends its own transaction: the server shall be the victim, and soon.
    with own_postgres({"deadlock_timeout": "200ms"}) as server:
        yield server


@pytest.fixture(scope="module")
def module_database(postgres):
    return postgres.dsn


@pytest.fixture(scope="module")
def server(module_database, limits):
    settings = {
        "FLEETWIRE_COMMIT_GIVE_UP_SECS": str(limits.give_up_secs),
        "FLEETWIRE_WRITER_CONNECTIONS": str(WRITERS),
        "FLEETWIRE_UPKEEP_SECS": "0",
    }
    with serving("--database-url", module_database, settings=settings) as running:
        (worker,) = running.workers()
        yield running
        assert running.workers() == [worker], "the worker outlives what its database suffers"
        assert running.stop() == 0
        assert running.faults() == []


async def _waiting_for_locks(dsn):
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fleetwire' AND wait_event_type = 'Lock'"
    )
    return (await rows(dsn, statement))[0][0]


async def _until_waiting(dsn, count):
    async with asyncio.timeout(20):
        while await _waiting_for_locks(dsn) < count:
            await asyncio.sleep(0.02)


async def _send_until_stored(ledger, client, tenant, device, fixes):
    """What the sender was told until then, and when."""
    loop, told = asyncio.get_running_loop(), []
    while not told or told[-1][0] != 200:
        began = loop.time()
        answer = await ledger.send(client, tenant.ingest, device, fixes)
        assert answer is not None
        told.append((answer.status, loop.time() - began))
    return told


@short_and_full
async def test_a_lock_held_beyond_every_limit(client, tenant, limits):
    ledger, held = Ledger(), [f"held-{number}" for number in range(3)]
    for device in held:
        await ledger.send(client, tenant.ingest, device, [fix()])
    async with sending([client], tenant.ingest, ledger) as senders:
        async with locked(tenant, *held):
            telling = [
                asyncio.ensure_future(_send_until_stored(ledger, client, tenant, device, track(3))) for device in held
            ]
            for _ in range(limits.hold_secs * 2):
                await asyncio.sleep(0.5)
                # Tries that were given up do not pile up in the database, waiting for the lock.
                assert await _waiting_for_locks(tenant.dsn) <= 2 * WRITERS
            assert not any(each.done() for each in telling)
            assert (await client.get("/readyz")).status == 200
            # More devices are held than there are committers, and the others are stored all the same.
            await senders.acknowledged(3)
        for told in await asyncio.gather(*telling):
            assert [status for status, _ in told] == [503] * (len(told) - 1) + [200]
            assert len(told) >= 2
            # A batch may wait for the groups before its own to be given up.
            assert all(secs < 3 * limits.give_up_secs + 3 for _, secs in told), told
        await senders.acknowledged(3)
    assert ledger.refusals.keys() <= {(503, "database_unavailable")}
    assert ledger.lost == 0
    await ledger.verify(tenant.dsn, tenant.name)


async def test_a_deadlock_is_tried_again_and_acknowledged(server, client, tenant):
    """Another session locks two devices of one group in the opposite order, and lets the server be the victim."""
    ledger, fixes = Ledger(), track(2, start_millis=now_millis() - 60_000)
    blocked = [f"blocked-{number}" for number in range(WRITERS)]
    for device in (*blocked, "first", "second"):
        await ledger.send(client, tenant.ingest, device, fixes[:1])
    async with locked(tenant, *blocked):
        # With every committer busy, the two batches wait side by side and become one group.
        sent = []
        for number, device in enumerate(blocked, 1):
            sent.append(asyncio.ensure_future(ledger.send(client, tenant.ingest, device, fixes[1:])))
            await _until_waiting(tenant.dsn, number)
        pair = [ledger.send(client, tenant.ingest, device, fixes[1:]) for device in ("first", "second")]
        sent += map(asyncio.ensure_future, pair)
        async with asyncio.timeout(20):
            while (await client.get("/health")).json["held_batches"] < 2:
                await asyncio.sleep(0.02)
        other = await begin(tenant.dsn)
        await other.execute("SET deadlock_timeout = '1min'")
        await lock_positions(other, tenant, "second")
    try:
        await _until_waiting(tenant.dsn, 1)  # The group has the first and waits for the second.
        await lock_positions(other, tenant, "first")
    finally:
        await other.close()
    answers = await asyncio.gather(*sent)
    assert [answer.receipt for answer in answers] == [(1, 0, {})] * (WRITERS + 2)
    assert "DeadlockDetectedError" in server.log()
    assert not ledger.refusals
    await ledger.verify(tenant.dsn, tenant.name)


@contextmanager
def _frozen(postgres):
    """No process of the database moves; connections stay open and unanswered."""
    stopped = processes(postgres)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped[::-1]:
            os.kill(pid, signal.SIGCONT)


@short_and_full
async def test_a_database_frozen_beyond_every_limit(postgres, client, tenant, limits):
    ledger, loop = Ledger(), asyncio.get_running_loop()
    async with sending([client], tenant.ingest, ledger) as senders:
        with _frozen(postgres):
            froze_at = loop.time()
            await senders.refused()
            # A device that was never met needs the database before its batch can wait for it.
            began = loop.time()
            answer = await ledger.send(client, tenant.ingest, "new", [fix()])
            assert answer.refusal == (503, "database_unavailable")
            assert loop.time() - began < limits.give_up_secs + 2
            while loop.time() - froze_at < limits.hold_secs:
                began = loop.time()
                assert (await client.get("/livez")).status == 200
                assert loop.time() - began < 1, "the worker itself stands still"
                await asyncio.sleep(0.2)
            assert (await client.get("/readyz")).status == 503
        await senders.acknowledged(3)
        assert (await client.get("/readyz")).status == 200
        answer = await ledger.send(client, tenant.ingest, "new", track(2))
        assert answer.receipt == (2, 0, {})
    assert ledger.refusals.keys() <= AWAY
    assert ledger.lost == 0
    await ledger.verify(tenant.dsn, tenant.name, commits_went_unheard=True)
