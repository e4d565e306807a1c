"""An order that ends or begins while Redis is away is on the feeds of the other workers as the database has it."""

import asyncio
import json

from harness.client import Client
from harness.fixes import fix
from harness.process import Server
from harness.tenants import Tenant
from harness.valkey import valkey

LIMIT_SECS = 40
START_MILLIS = 1_790_000_000_000


async def set_order(client, tenant, order, devices):
    path = f"/api/orders/{order}/devices"
    body = json.dumps({"devices": devices}).encode()
    headers = {"Content-Type": "application/json"}
    answer = await client.request("PUT", path, token=tenant.dispatcher, body=body, headers=headers)
    assert answer.status == 204, answer.body


async def shown(client, tenant, order):
    """The devices of a new watcher of an order."""
    async with client.socket("/ws/dispatch", token=tenant.dispatcher) as feed:
        await feed.send({"type": "watch", "orders": [order]})
        snapshot = await feed.receive_type("snapshot")
        return {position["device"] for position in snapshot["positions"]}


async def until_shown(client, tenant, order, devices):
    async with asyncio.timeout(LIMIT_SECS):
        while await shown(client, tenant, order) != devices:
            await asyncio.sleep(0.2)


async def test_orders_that_changed_while_redis_was_away_are_those_of_the_database(database, session):
    with valkey() as redis:
        arguments = ("--database-url", database, "--redis-url", redis.url)
        servers = [Server(*arguments), Server(*arguments)]
        try:
            first, second = (Client(server.start().url, session) for server in servers)
            tenant = await asyncio.to_thread(Tenant, database)
            for device in ("van-1", "van-2"):
                answer = await first.send({"device": device, "fixes": [fix(START_MILLIS)]}, token=tenant.ingest)
                assert answer.status == 200
            await set_order(first, tenant, "ends", ["van-1"])
            await until_shown(second, tenant, "ends", {"van-1"})
            redis.kill()
            await set_order(first, tenant, "ends", [])
            await set_order(first, tenant, "begins", ["van-2"])
            assert await shown(second, tenant, "ends") == {"van-1"}, "the other server cannot know yet"
            redis.start()
            await until_shown(second, tenant, "begins", {"van-2"})
            await until_shown(second, tenant, "ends", set())
        finally:
            for server in servers:
                server.close()
