"""With a spool, batches outlive an outage of the database, and a kill of the server in the middle of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.migrate import migrate
from harness.client import Client
from harness.database import stored_times
from harness.fixes import now_millis, track
from harness.process import Server, serving
from harness.tenants import Tenant

DRAIN_LIMIT_SECS = 20.0


@pytest.fixture
def postgres(scratch_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A database of the test's own, which it stops and starts."""
    embedded = EmbeddedPostgres(scratch_dir / "data")
    embedded.start()
    yield embedded
    embedded.stop()


async def _send(client: Client, tenant: Tenant, fixes: list[dict[str, object]]) -> dict[str, int]:
    answer = await client.send({"device": "truck-1", "fixes": fixes}, token=tenant.ingest)
    assert answer.status == (202 if "queued" in answer.json else 200)
    return {name: answer.json[name] for name in ("stored", "duplicate", "queued") if name in answer.json}


async def _until_stored(dsn: str, tenant: Tenant, times: list[int]) -> None:
    async with asyncio.timeout(DRAIN_LIMIT_SECS):
        while await stored_times(dsn, tenant.name) != times:
            await asyncio.sleep(0.1)


async def test_batches_of_an_outage_are_queued_and_then_stored_exactly_once(
    postgres: EmbeddedPostgres, scratch_dir: Path, session: aiohttp.ClientSession
) -> None:
    dsn = postgres.dsn
    await migrate(dsn)
    tenant = await asyncio.to_thread(Tenant, dsn)
    fixes = track(40)
    times = [fix["timestamp"] for fix in fixes]
    with serving("--database-url", dsn, "--spool", scratch_dir / "spool") as server:
        client = Client(server.url, session)
        assert await _send(client, tenant, fixes[:10]) == {"stored": 10, "duplicate": 0}
        await asyncio.to_thread(postgres.stop)
        assert await _send(client, tenant, fixes[5:20]) == {"queued": 15}
        assert await _send(client, tenant, fixes[10:30]) == {"queued": 20}
        assert (await client.get("/readyz")).status == 503
        await asyncio.to_thread(postgres.start)
        await _until_stored(dsn, tenant, times[:30])
        assert await _send(client, tenant, fixes) == {"stored": 10, "duplicate": 30}
    assert await stored_times(dsn, tenant.name) == times
    assert list((scratch_dir / "spool").rglob("*.spool")) == []


async def test_a_killed_server_finds_its_spool_again(
    postgres: EmbeddedPostgres, scratch_dir: Path, session: aiohttp.ClientSession
) -> None:
    dsn = postgres.dsn
    await migrate(dsn)
    tenant = await asyncio.to_thread(Tenant, dsn)
    fixes = track(20)
    server = Server("--database-url", dsn, "--spool", scratch_dir / "spool").start()
    client = Client(server.url, session)
    assert await _send(client, tenant, fixes[:5]) == {"stored": 5, "duplicate": 0}
    await asyncio.to_thread(postgres.stop)
    assert await _send(client, tenant, fixes[5:]) == {"queued": 15}
    await asyncio.to_thread(server.kill)
    server.close()
    await asyncio.to_thread(postgres.start)
    with serving("--database-url", dsn, "--spool", scratch_dir / "spool"):
        await _until_stored(dsn, tenant, [fix["timestamp"] for fix in fixes])


async def test_a_full_spool_answers_503_and_what_it_holds_is_stored(
    postgres: EmbeddedPostgres, scratch_dir: Path, session: aiohttp.ClientSession
) -> None:
    dsn = postgres.dsn
    await migrate(dsn)
    tenant = await asyncio.to_thread(Tenant, dsn)
    settings = {"FLEETWIRE_SPOOL_MAX_BYTES": str(1024 * 1024)}
    fixes = track(60_000, start_millis=now_millis() - 80_000_000)
    queued: list[int] = []
    with serving("--database-url", dsn, "--spool", scratch_dir / "spool", settings=settings) as server:
        client = Client(server.url, session)
        assert await _send(client, tenant, fixes[:1]) == {"stored": 1, "duplicate": 0}
        await asyncio.to_thread(postgres.stop)
        for start in range(0, len(fixes), 5_000):
            batch = fixes[start : start + 5_000]
            answer = await client.send({"device": "truck-1", "fixes": batch}, token=tenant.ingest)
            if answer.status == 202:
                queued += [fix["timestamp"] for fix in batch]
            else:
                assert answer.refusal == (503, "spool_full")
                assert int(answer.headers["retry-after"]) > 0
        assert 0 < len(queued) < len(fixes)
        await asyncio.to_thread(postgres.start)
        await _until_stored(dsn, tenant, queued)
