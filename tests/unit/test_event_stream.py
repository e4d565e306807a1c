"""What a stream of events makes of what a server may send in any order before it has joined."""

import asyncio
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from fleetwire.client.events import EventStream


def event(seq):
    return {
        "type": "event", "seq": seq, "room": "dispatch", "kind": "message", "payload": {"text": str(seq)},
        "actor": "user:ann", "occurred_at": 1, "recorded_at": 1,
    }  # fmt: skip


@asynccontextmanager
async def server_of(*connections):
    """Serves connections that say these frames, one list each, and are then cut."""
    asked, left = [], list(connections)

    async def talk(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        asked.append(orjson.loads(await socket.receive_str()))
        for frame in left.pop(0):
            await socket.send_str(orjson.dumps(frame).decode())
        if left:
            await socket.close(code=1012)
        else:
            await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/ws/dispatch", talk)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def heard(url, count):
    seqs = []
    async with EventStream(url, "fw_secret") as stream, asyncio.timeout(20):
        async for told in stream:
            seqs.append(told.seq)
            if len(seqs) == count:
                break
    return seqs


async def test_event_before_joined_is_left_for_its_turn():
    """A socket is in a room of its own before it asks: there it may be told 62 while 61 is still to come."""
    joined = {"type": "joined", "rooms": ["dispatch"], "gap": False}
    async with server_of(
        [{**joined, "after": 58}, event(59), event(60)],
        [event(62), {**joined, "after": 60}, event(61), event(62)],
    ) as (url, asked):
        assert await heard(url, 4) == [59, 60, 61, 62]
    assert [message.get("after") for message in asked] == [None, 60]


async def test_event_sent_again_is_heard_once():
    joined = {"type": "joined", "rooms": ["dispatch"], "gap": False}
    async with server_of([{**joined, "after": 6}, event(7), event(7), event(8)]) as (url, _):
        assert await heard(url, 2) == [7, 8]
