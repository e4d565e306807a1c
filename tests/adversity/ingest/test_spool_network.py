"""With a spool, a network that swallows commits and their answers costs nobody a receipt and stores nothing twice."""

import asyncio

import pytest

from harness.ledger import Ledger
from harness.process import serving
from harness.proxy import Proxy
from harness.senders import HEAL_SECS, sending


@pytest.fixture(scope="module")
def proxy(module_database):
    with Proxy(module_database) as between:
        yield between


@pytest.fixture
def server(proxy, scratch_dir):
    settings = {
        "FLEETWIRE_COMMIT_GIVE_UP_SECS": "2",
        "FLEETWIRE_SPOOL_AFTER_SECS": "1",
        "FLEETWIRE_UPKEEP_SECS": "0",
    }
    with serving("--database-url", proxy.dsn, "--spool", scratch_dir / "spool", settings=settings) as running:
        yield running
        assert running.stop() == 0
        assert running.faults() == []


async def test_batches_go_to_the_spool_and_from_there_into_the_table_once(proxy, client, tenant, scratch_dir):
    ledger = Ledger()
    async with sending([client], tenant.ingest, ledger) as senders:
        with proxy.half_open("down"):
            # Some of these were committed, and only the answers to that were swallowed.
            await asyncio.gather(senders.acknowledged(3), client.until("/readyz", 503, within_secs=HEAL_SECS))
        await client.until("/readyz", 200, within_secs=HEAL_SECS)
        await senders.acknowledged(3)
    async with asyncio.timeout(HEAL_SECS):
        while list((scratch_dir / "spool").rglob("*.spool")):
            await asyncio.sleep(0.1)
    assert ledger.refusals == {}
    assert ledger.lost == 0
    assert ledger.queued
    await ledger.verify(tenant.dsn, tenant.name, commits_went_unheard=True)
