"""A tenant is erased by command while a server runs: its watchers are told, and nothing of it stays in memory."""

import asyncio

from harness.fixes import fix
from harness.process import run, wait_until


async def test_a_running_server_forgets_an_erased_tenant(client, server, module_database, session, tenant, rival):
    operator = await rival.issue_async("user", "ops", "admin")

    async def entries():
        return (await client.get("/api/cache/stats", token=operator)).json["entries"]

    for each in (tenant, rival):
        await client.send({"device": "van", "fixes": [fix()]}, token=each.ingest)
    async with (
        client.socket("/ws/dispatch", token=tenant.dispatcher) as theirs,
        client.socket("/ws/dispatch", token=rival.dispatcher) as others,
    ):
        for socket in (theirs, others):
            await socket.send({"type": "watch"})
            assert len((await socket.receive_type("snapshot"))["positions"]) == 1
        for path in ("/api/live", "/api/devices"):
            await client.get(path, token=tenant.dispatcher)
        before = await entries()
        assert before >= 2
        command = ("tenant", "erase", tenant.name, "--yes", tenant.name, "--database-url", module_database)
        ended = await asyncio.to_thread(run, *command)
        assert ended.returncode == 0, ended.stderr
        assert await theirs.closed() == 4401
        await asyncio.to_thread(
            wait_until, lambda: "A tenant was erased." in server.log(), limit_secs=20, what="the server heard"
        )
        assert await entries() <= before - 2
        assert (await client.get("/api/live", token=tenant.dispatcher)).status == 401
        # The others see theirs, and go on.
        assert (await client.send({"device": "van", "fixes": [fix()]}, token=rival.ingest)).receipt == (1, 0, {})
        assert [each["device"] for each in (await others.receive_type("moved"))["positions"]] == ["van"]
