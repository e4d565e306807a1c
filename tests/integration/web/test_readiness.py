"""A worker with a background task that cannot go on takes no traffic, and says which task it is."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import AsyncTestClient

from fleetwire.engine import Engine
from fleetwire.runtime.retry import Backoff
from fleetwire.runtime.supervisor import supervise
from fleetwire.settings import Settings
from fleetwire.web.ops import readyz, show_health


@pytest.fixture
async def client(database):
    engine = Engine(Settings(database_url=database))

    @asynccontextmanager
    async def lifespan(_):
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()

    parts = {
        "health": lambda: engine.health,
        "app_pool": lambda: engine.app_pool,
        "sockets": lambda: engine.sockets,
        "writer": lambda: engine.writer,
        "relay": lambda: engine.relay,
    }
    dependencies = {name: Provide(part, sync_to_thread=False) for name, part in parts.items()}
    api = Litestar([readyz, show_health], dependencies=dependencies, lifespan=[lifespan], openapi_config=None)
    async with AsyncTestClient(api) as opened:
        yield opened


async def test_a_stuck_task_is_named_by_readiness_and_described_by_health(client):
    async def step():
        raise ConnectionError("holds what belongs to a tenant")

    assert (await client.get("/readyz")).json() == {"status": "ready"}
    task = supervise(step, name="test-stuck", backoff=Backoff(max_secs=0.05), unready_after_secs=0.2)
    await asyncio.sleep(0.1)
    ready, health = await client.get("/readyz"), await client.get("/health")
    assert (ready.status_code, health.status_code) == (200, 200), "a moment is no reason to lose traffic"
    [sentence] = health.json()["warnings"]
    assert sentence.startswith("The background task test-stuck has failed for 0 s")
    await asyncio.sleep(0.2)
    ready, health = await client.get("/readyz"), await client.get("/health")
    assert (ready.status_code, ready.json()) == (503, {"status": "background_task_stuck", "tasks": "test-stuck"})
    assert (health.status_code, health.json()["status"]) == (503, "degraded")
    assert health.json()["stuck_tasks"] == ["test-stuck"]
    assert "belongs to a tenant" not in health.text
    await task.stop()
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    assert (await client.get("/health")).json()["warnings"] == []
