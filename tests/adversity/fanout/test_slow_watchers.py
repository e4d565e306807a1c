"""Watchers that do not read, and feeds on which nothing moves: the others notice neither."""

import asyncio
import base64
import json
import os
import socket
import statistics
import struct
import time

import pytest

from harness.fixes import fix, now_millis
from harness.fixtures import running_server
from harness.tenants import Tenant

SETTINGS = {"FLEETWIRE_FEED_HEARTBEAT_SECS": "1", "FLEETWIRE_FEED_SEND_SECS": "6", "PYTHONASYNCIODEBUG": ""}
DEVICES = 150
LONG = "\N{DELIVERY TRUCK}" * 120  # a frame of all devices has 90 KB, so that a connection's buffers fill quickly


@pytest.fixture(scope="module")
def server(module_database):
    yield from running_server(module_database, SETTINGS)


@pytest.fixture
def tenant(module_database):
    return Tenant(module_database)


class Stalled:
    """A WebSocket whose owner reads only when told to; its receive buffer is as small as the system allows."""

    def __init__(self, server, token):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws/dispatch HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        self._bytes = b""
        head = self._exactly_until(b"\r\n\r\n")
        assert b" 101 " in head, head
        self.ask()

    def ask(self):
        """Asks for a snapshot."""
        message = b'{"type":"watch"}'
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(message))
        self._socket.sendall(bytes([0x81, 0x80 | len(message)]) + mask + masked)

    def _more(self):
        self._socket.settimeout(10)
        try:
            piece = self._socket.recv(1 << 16)
        except ConnectionResetError:
            piece = b""
        self._bytes += piece
        return bool(piece)

    def _exactly_until(self, mark):
        while mark not in self._bytes:
            assert self._more(), "closed"
        head, _, self._bytes = self._bytes.partition(mark)
        return head

    def _exactly(self, count):
        while len(self._bytes) < count:
            if not self._more():
                return None
        piece, self._bytes = self._bytes[:count], self._bytes[count:]
        return piece

    def frame(self):
        """The next message, a close code, or None at the end of the connection."""
        head = self._exactly(2)
        if head is None:
            return None
        length = head[1] & 127
        if length > 125:
            wide = self._exactly(2 if length == 126 else 8)
            if wide is None:
                return None
            length = int.from_bytes(wide, "big")
        body = self._exactly(length)
        if body is None:
            return None
        return struct.unpack(">H", body[:2])[0] if head[0] & 15 == 8 else json.loads(body)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._socket.close()


class Fleet:
    """Moves every device of a tenant at once, over one driver's socket."""

    def __init__(self, client, tenant):
        self._client, self._tenant = client, tenant

    async def __aenter__(self):
        self._opened = self._client.socket("/ws", token=self._tenant.ingest)
        self._socket = await self._opened.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self._opened.__aexit__(*error)

    async def move(self):
        """One new fix of each device; returns their time when all are stored."""
        at = now_millis()

        async def send():
            for number in range(DEVICES):
                await self._socket.send({"type": "batch", "id": 1, "device": f"{LONG}{number}", "fixes": [fix(at)]})

        sending = asyncio.ensure_future(send())
        for _ in range(DEVICES):
            assert (await self._socket.receive_type("receipt"))["stored"] == 1
        await sending
        return at


async def watchers(client):
    return (await client.get("/health")).json["sockets"]["dispatch"]


async def newest(feed, at):
    """Reads a feed until every device is where it was at `at`; returns how long it took."""
    started = time.monotonic()
    seen = set()
    while len(seen) < DEVICES:
        frame = await feed.receive()
        seen |= {each["device"] for each in frame.get("positions", ()) if each["timestamp"] == at}
    return time.monotonic() - started


async def test_feed_without_movement_says_that_it_lives(client, tenant):
    async with client.socket("/ws/dispatch", token=tenant.dispatcher) as feed:
        await feed.send({"type": "watch"})
        await feed.receive_type("snapshot")
        started = time.monotonic()
        for _ in range(2):
            assert await feed.receive_type("heartbeat") == {"type": "heartbeat"}
        assert 1.8 < time.monotonic() - started < 4


async def test_watcher_that_reads_nothing_is_closed_and_delays_nobody(client, server, tenant):
    async with Fleet(client, tenant) as fleet, client.socket("/ws/dispatch", token=tenant.dispatcher) as feed:
        await fleet.move()
        await feed.send({"type": "watch"})
        await feed.receive_type("snapshot")
        with Stalled(server, tenant.dispatcher) as stalled:
            await hold_up(stalled, client, tenant)
            delays = []
            deadline = time.monotonic() + 15
            while await watchers(client) == 2:
                assert time.monotonic() < deadline, "the stalled watcher is never closed"
                delays.append(await newest(feed, await fleet.move()))
            delays.append(await newest(feed, await fleet.move()))
            assert await watchers(client) == 1
            frames = []
            while isinstance(frame := await asyncio.to_thread(stalled.frame), dict):
                frames.append(frame)
    assert len(delays) > 2
    assert statistics.median(delays) < 0.5, delays
    assert frame in {None, 4408}
    assert {frame["type"] for frame in frames} <= {"snapshot", "moved"}
    closes = await client.get("/metrics", token=tenant.admin)
    assert b'fleetwire_fanout_closes_total{code="4408"} 1.0' in closes.body


async def test_watcher_that_pauses_gets_the_newest_instead_of_a_backlog(client, server, tenant):
    async with Fleet(client, tenant) as fleet:
        moves = [await fleet.move()]
        with Stalled(server, tenant.dispatcher) as stalled:
            await hold_up(stalled, client, tenant)
            for _ in range(3):
                moves.append(await fleet.move())
                await asyncio.sleep(0.3)
            seen, frames = set(), []
            while len(seen) < DEVICES:
                frame = await asyncio.to_thread(stalled.frame)
                assert isinstance(frame, dict), f"closed with {frame} after {len(frames)} frames"
                frames.append(frame)
                seen |= {each["device"] for each in frame["positions"] if each["timestamp"] == moves[-1]}
    shown = {each["timestamp"] for frame in frames for each in frame["positions"]}
    assert shown == {moves[0], moves[-1]}, "what was overtaken while nobody read is not sent any more"
    seqs = [frame["seq"] for frame in frames]
    assert seqs == sorted(seqs)


async def test_watcher_that_takes_no_events_is_closed_and_the_others_get_every_one(client, server, tenant):
    """Three megabytes of events, more than a connection holds of somebody who reads nothing; none waits in memory."""
    text = "x" * 4_000
    async with client.socket("/ws/dispatch", token=tenant.dispatcher) as feed:
        await feed.send({"type": "events", "rooms": ["dispatch"]})
        while (await feed.receive())["type"] != "joined":
            pass
        with Stalled(server, tenant.dispatcher) as stalled:
            assert (await asyncio.to_thread(stalled.frame))["type"] == "snapshot"
            told, published = [], 0
            deadline = time.monotonic() + 40
            while await watchers(client) == 2 or len(told) < published:
                assert time.monotonic() < deadline, "the stalled watcher is never closed"
                if published < 1_500:
                    await asyncio.gather(*(say(client, tenant, text) for _ in range(20)))
                    published += 20
                while len(told) < published:
                    frame = await feed.receive()
                    if frame["type"] == "event":
                        told.append(frame["seq"])
                await feed.send({"type": "ack", "seq": told[-1]})
    assert told == list(range(1, published + 1))
    stats = (await client.get("/api/websocket/stats", token=tenant.admin)).json
    assert stats["slow_closes"] >= 1


async def say(client, tenant, text):
    body = json.dumps({"room": "dispatch", "kind": "message", "payload": {"text": text}}).encode()
    answer = await client.request("POST", "/api/events", token=tenant.dispatcher, body=body)
    assert answer.status == 201, answer.body


async def hold_up(stalled, client, tenant):
    """Asks for more than the connection holds of somebody who reads nothing."""
    answered = True
    while answered:
        before = await snapshots(client, tenant)
        stalled.ask()
        for _ in range(40):
            answered = await snapshots(client, tenant) > before
            if answered:
                break
            await asyncio.sleep(0.01)


async def snapshots(client, tenant):
    """How many were sent, or begun to be sent."""
    metrics = (await client.get("/metrics", token=tenant.admin)).body.decode()
    (line,) = [
        line for line in metrics.splitlines() if line.startswith('fleetwire_fanout_frames_total{type="snapshot"}')
    ]
    return float(line.split()[-1])
