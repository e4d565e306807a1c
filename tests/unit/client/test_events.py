"""`EventStream` yields each event once and in order, whatever the server sends before the join."""

import asyncio
import random
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
    """Serves one connection per list of frames: reads the join message, sends the frames, closes."""
    joins, left = [], list(connections)

    async def serve(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        joins.append(orjson.loads(await socket.receive_str()))
        for frame in left.pop(0):
            await socket.send_str(orjson.dumps(frame).decode())
        if left:
            await socket.close(code=1012)
        else:
            await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/ws/dispatch", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", joins
    finally:
        await runner.cleanup()


class Shortest(random.Random):
    """Draws the lower bound, so that reconnects are immediate."""

    def uniform(self, a, b):
        return a


async def received(url, count):
    seqs = []
    async with EventStream(url, "fw_secret", rng=Shortest()) as stream, asyncio.timeout(20):
        async for event in stream:
            seqs.append(event.seq)
            if len(seqs) == count:
                break
    return seqs


async def test_event_before_joined_is_not_yielded_until_its_turn():
    """A socket is in its default rooms before the join: there it may receive event 62 before event 61."""
    joined = {"type": "joined", "rooms": ["dispatch"], "gap": False}
    async with server_of(
        [{**joined, "after": 58}, event(59), event(60)],
        [event(62), {**joined, "after": 60}, event(61), event(62)],
    ) as (url, joins):
        assert await received(url, 4) == [59, 60, 61, 62]
    assert [message.get("after") for message in joins] == [None, 60]


async def test_event_sent_again_is_yielded_once():
    joined = {"type": "joined", "rooms": ["dispatch"], "gap": False}
    async with server_of([{**joined, "after": 6}, event(7), event(7), event(8)]) as (url, _):
        assert await received(url, 2) == [7, 8]
