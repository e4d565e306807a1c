"""A suspended tenant is out at once, on every worker, and in again when it is resumed."""

import asyncio
import contextlib
import time

import pytest

from harness.client import Client
from harness.database import execute, rows
from harness.fixes import fix
from harness.process import run, serving
from harness.valkey import Valkey

PASSWORD = "correct horse battery staple"
RECHECK_SECS = 1


@pytest.fixture(scope="module")
def server(module_database):
    valkey = Valkey().start()
    try:
        settings = {"FLEETWIRE_SOCKET_RECHECK_SECS": str(RECHECK_SECS), "FLEETWIRE_DRAIN_SECS": "2"}
        arguments = ("--database-url", module_database, "--workers", "2", "--redis-url", valkey.url)
        with serving(*arguments, settings=settings) as running:
            yield running
    finally:
        valkey.close()


@pytest.fixture
def client(server, session):
    return Client(server.url, session)


@contextlib.asynccontextmanager
async def sockets(client, token, count):
    """So many sockets that watch; they spread over the workers."""
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            socket = await stack.enter_async_context(client.socket("/ws/dispatch", token=token))
            await socket.receive_type("snapshot")
            opened.append(socket)
        yield opened


async def test_suspending_closes_sockets_on_all_workers_and_lets_nobody_in_until_resumed(client, tenant, rival):
    tenant.user("anna", "dispatcher")
    batch = {"device": "van", "fixes": [fix()]}
    assert (await client.send(batch, token=tenant.ingest)).status == 200
    target = ("--database-url", tenant.dsn)
    async with sockets(client, tenant.admin, 8) as theirs, sockets(client, rival.admin, 2) as others:
        suspended = await asyncio.to_thread(run, "tenant", "suspend", tenant.name, *target)
        ended_secs = time.monotonic()
        assert suspended.returncode == 0, suspended.stderr
        assert await asyncio.gather(*(each.closed(within_secs=5) for each in theirs)) == [4401] * 8
        assert time.monotonic() - ended_secs < 2
        for _ in range(10):
            assert (await client.send(batch, token=tenant.ingest)).refusal == (401, "token_revoked")
            assert (await client.get("/api/live", token=tenant.admin)).refusal == (401, "token_revoked")
        assert (await client.login(tenant.name, "anna", PASSWORD)).status in {401, 403}
        assert (await client.send(batch, token=rival.ingest)).status == 200
        for socket in others:
            await socket.receive_type("moved")
    resumed = await asyncio.to_thread(run, "tenant", "resume", tenant.name, *target)
    assert resumed.returncode == 0, resumed.stderr
    await asyncio.sleep(1)
    for _ in range(10):
        assert (await client.send(batch, token=tenant.ingest)).status == 200
    noted = await rows(
        tenant.dsn,
        "SELECT action FROM audit_log JOIN tenant USING (tenant_id) "
        f"WHERE name = '{tenant.name}' AND action LIKE 'tenant.%' ORDER BY audit_id",
    )
    assert noted == [("tenant.suspend",), ("tenant.resume",)]


async def test_an_unknown_tenant_is_neither_suspended_nor_resumed(tenant):
    for verb in ("suspend", "resume"):
        done = await asyncio.to_thread(run, "tenant", verb, "nobody", "--database-url", tenant.dsn)
        assert done.returncode == 1
        assert "tenant_unknown" in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tenant SET status = 'suspended' WHERE tenant_id = {id}",
        "UPDATE app_user SET role = 'viewer' WHERE tenant_id = {id}",
        "UPDATE credential SET scopes = '{{watch}}' WHERE tenant_id = {id}",
    ],
)
async def test_open_sockets_are_checked_again_though_nobody_was_notified(client, tenant, rival, change):
    async with sockets(client, tenant.admin, 4) as theirs, sockets(client, rival.admin, 1) as others:
        [(tenant_id,)] = await rows(tenant.dsn, f"SELECT tenant_id FROM tenant WHERE name = '{tenant.name}'")
        await execute(tenant.dsn, change.format(id=tenant_id))
        codes = await asyncio.gather(*(each.closed(within_secs=5 * RECHECK_SECS + 3) for each in theirs))
        assert codes == [4401] * 4
        assert not others[0].raw.closed
