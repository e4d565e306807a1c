"""How many sockets there may be: of a worker, a tenant, a user, and without a credential; and what the latter cost."""

import asyncio
import contextlib
import re
import socket
import struct
from pathlib import Path

import aiohttp
import pytest

from fleetwire.settings import Settings
from harness.fixtures import running_server
from harness.process import ROOT, wait_until

DISPATCH = "/ws/dispatch"
DRIVER = "/ws"
UNAUTHENTICATED = 3
USER, TENANT = 4, 6
MIB = 1 << 20
MOST_MIB = 96
"""What a socket without a credential may cost; the same number stands in the documents."""
SETTINGS = {
    "FLEETWIRE_UNAUTHENTICATED_SOCKETS": str(UNAUTHENTICATED),
    "FLEETWIRE_SOCKET_AUTH_SECS": "5",
    "FLEETWIRE_USER_SOCKETS": str(USER),
    "FLEETWIRE_TENANT_SOCKETS": str(TENANT),
}


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(module_database, SETTINGS)


def upgrade(server):
    opened = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    opened.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return opened


def resident_mib(server):
    (worker,) = server.workers()
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def test_handshakes_at_the_same_moment_do_not_pass_the_bound(server):
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(upgrade(server)) for _ in range(40)]
        statuses = [each.recv(4096).split()[1] for each in opened]
    assert statuses.count(b"101") == UNAUTHENTICATED
    assert statuses.count(b"401") == 40 - UNAUTHENTICATED


def test_memory_of_sockets_without_a_credential_is_bounded_and_given_back(server):
    """Each sends as much of one message as the server underneath takes, and never its end."""

    def places():
        return sum(each.recv(4096).split()[1] == b"101" for each in opened)

    with contextlib.ExitStack() as stack:
        before = resident_mib(server)
        opened = [stack.enter_context(upgrade(server)) for _ in range(4 * UNAUTHENTICATED)]
        assert places() <= UNAUTHENTICATED
        for each in opened:
            with contextlib.suppress(OSError):
                for number in range(4):
                    size = 15 * MIB
                    head = bytes([0x02 if number == 0 else 0x00, 0x80 | 127]) + struct.pack(">Q", size) + bytes(4)
                    each.sendall(head + bytes(size))
        grown = resident_mib(server) - before
    assert grown <= UNAUTHENTICATED * MOST_MIB
    wait_until(lambda: resident_mib(server) - before < MOST_MIB, limit_secs=20, what="the memory is given back")


def test_by_default_no_socket_is_open_without_a_credential():
    assert Settings().unauthenticated_sockets == 0
    for name in ("SECURITY.md", "docs/tuning.md"):
        assert f"{MOST_MIB} MiB" in (ROOT / name).read_text()


async def test_user_and_tenant_have_a_bound_of_sockets(client, tenant, rival):
    other = await tenant.issue_async("user", "otto", "dispatcher")
    second = await tenant.issue_async("user", "dora", "dispatcher")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(USER - 1):
            await stack.enter_async_context(client.socket(DISPATCH, token=tenant.dispatcher))
        last = await stack.enter_async_context(client.socket(DISPATCH, token=second))
        for token in (tenant.dispatcher, second):  # Another token of a user is no other user.
            assert (await client.handshake(DISPATCH, token=token)).refusal == (429, "sockets_limit")
        for _ in range(TENANT - USER):
            await stack.enter_async_context(client.socket(DISPATCH, token=other))
        assert (await client.handshake(DISPATCH, token=other)).refusal == (429, "sockets_limit")
        assert (await client.handshake(DRIVER, token=tenant.ingest)).refusal == (429, "sockets_limit")
        async with client.socket(DISPATCH, token=rival.dispatcher):
            pass
        async with client.socket(DISPATCH) as late:
            await late.send({"type": "auth", "token": tenant.dispatcher})
            assert (await late.receive_type("error"))["code"] == "sockets_limit"
            assert await late.closed() == 4429
        await last.raw.close()
        async with asyncio.timeout(5):
            await _open_when_free(client, second)


async def _open_when_free(client, token):
    """Opens a socket as soon as a place was given back."""
    while True:
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            async with client.socket(DISPATCH, token=token):
                return
        await asyncio.sleep(0.05)
