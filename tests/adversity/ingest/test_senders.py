"""Senders at their worst: twenty with the same batch at once, and some that leave before they get their receipt."""

import asyncio
import json
import random
import socket
import struct

import pytest

from harness.client import LOCATION, read_receipt
from harness.database import rows
from harness.fixes import track
from harness.ledger import Ledger

SENDERS = 20
LEAVERS = 24
FIXES = 50


@pytest.mark.parametrize("first", ["new device", "known device"])
async def test_same_batch_from_twenty_senders_at_once_is_stored_by_one(client, tenant, first):
    ledger, fixes = Ledger(), track(FIXES)
    if first == "known device":
        await ledger.send(client, tenant.ingest, "van", track(1, start_millis=fixes[0]["timestamp"] - 1_000))
    answers = await asyncio.gather(*(ledger.send(client, tenant.ingest, "van", fixes) for _ in range(SENDERS)))
    assert sorted(answer.receipt[:2] for answer in answers) == [(0, FIXES)] * (SENDERS - 1) + [(FIXES, 0)]
    await ledger.verify(tenant.dsn, tenant.name)


async def test_overlapping_slices_from_twenty_senders_at_once_are_stored_once(client, tenant):
    ledger, fixes = Ledger(), track(FIXES)
    slices = [fixes[start : start + FIXES // 2] for start in range(0, FIXES // 2 + 1, 5)] * 4
    answers = await asyncio.gather(*(ledger.send(client, tenant.ingest, "van", each) for each in slices[:SENDERS]))
    assert sum(answer.receipt[0] for answer in answers) == FIXES
    assert sum(answer.receipt[1] for answer in answers) == SENDERS * FIXES // 2 - FIXES
    await ledger.verify(tenant.dsn, tenant.name)


async def test_same_batch_from_twenty_sockets_at_once_is_stored_by_one(client, tenant):
    fixes = track(FIXES)

    async def send():
        async with client.socket("/ws", token=tenant.ingest) as up:
            ready.release()
            await begin.wait()
            await up.send({"type": "batch", "id": "1", "device": "van", "fixes": fixes})
            return read_receipt(await up.receive_type("receipt"))

    ready, begin = asyncio.Semaphore(0), asyncio.Event()
    sending = [asyncio.ensure_future(send()) for _ in range(SENDERS)]
    for _ in sending:
        await ready.acquire()
    begin.set()
    receipts = sorted(await asyncio.gather(*sending))
    assert receipts == [(0, FIXES, {})] * (SENDERS - 1) + [(FIXES, 0, {})]
    ledger = Ledger()
    assert (await ledger.send(client, tenant.ingest, "van", fixes)).receipt == (0, FIXES, {})
    await ledger.verify(tenant.dsn, tenant.name, commits_went_unheard=True)


def _request(token, device, fixes):
    body = json.dumps({"device": device, "fixes": fixes}).encode()
    head = (
        f"POST {LOCATION} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _leave(port, request, after_secs, *, resets):
    """Sends bytes and is gone without reading, by FIN or by RST."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    if resets:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(after_secs)
    writer.transport.abort()


async def _leave_socket(client, token, device, fixes, after_secs):
    """The same on a driver's socket."""
    async with client.socket("/ws", token=token) as up:
        await up.send({"type": "batch", "id": "1", "device": device, "fixes": fixes})
        await asyncio.sleep(after_secs)
        up.raw._response.connection.transport.abort()


@pytest.mark.parametrize("way", ["FIN", "RST", "socket"])
async def test_client_gone_between_send_and_receipt_repeats_exactly(server, client, tenant, way):
    ledger, chance = Ledger(), random.Random(7)
    batches = {f"car-{number}": track(FIXES) for number in range(LEAVERS)}
    for device, fixes in batches.items():
        ledger.note_lost(device, fixes)
        after_secs = chance.choice([0, 0.001, 0.003, 0.01])
        if way == "socket":
            await _leave_socket(client, tenant.ingest, device, fixes, after_secs)
        else:
            await _leave(server.port, _request(tenant.ingest, device, fixes), after_secs, resets=way == "RST")
    # Stored as a whole or not at all; some of the repeats meet what is still under way.
    repeats = [await ledger.send(client, tenant.ingest, device, fixes) for device, fixes in batches.items()]
    receipts = {answer.receipt[:2] for answer in repeats}
    assert (0, FIXES) in receipts, "nobody left late enough to be stored"
    assert receipts <= {(FIXES, 0), (0, FIXES)}
    await ledger.verify(tenant.dsn, tenant.name)


async def test_client_gone_in_the_middle_of_its_body_stored_nothing(server, client, tenant):
    ledger, chance = Ledger(), random.Random(8)
    await ledger.send(client, tenant.ingest, "last", track(1))
    for number in range(LEAVERS):
        fixes = track(FIXES)
        request = _request(tenant.ingest, f"car-{number}", fixes)
        await _leave(server.port, request[: -chance.randint(1, len(request) // 2)], 0.003, resets=number % 2 == 0)
    await ledger.send(client, tenant.ingest, "last", track(1, start_millis=track(1)[0]["timestamp"] + 5_000))
    devices = "SELECT FROM device JOIN tenant AS t USING (tenant_id) WHERE t.name = $1"
    assert len(await rows(tenant.dsn, devices, tenant.name)) == 1
    await ledger.verify(tenant.dsn, tenant.name)
