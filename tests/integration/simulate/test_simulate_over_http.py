"""A small simulated fleet against a server that speaks the contract over real sockets."""

import asyncio
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import WSMsgType, web

from fleetwire.errors import Problem
from fleetwire.runtime.clock import monotonic_secs, now_millis
from fleetwire.simulate import SimulateOptions, simulate
from fleetwire.simulate.fleet import Fleet

TOKEN = "fwi_test"


class Server:
    """Stores every (device, timestamp) once. `faulty` returns the fault of a batch: None, refuse, lose or cut."""

    def __init__(self):
        self.stored = {}
        self.ways = {}
        self.arrivals = []
        self.faulty = lambda _device: None
        self.port = 0
        self._sockets = set()
        self._runner = None

    async def start(self):
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/api/driver/location", self._location)
        app.router.add_get("/ws", self._socket)
        app.on_shutdown.append(self._hang_up)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self):
        await self._runner.cleanup()

    async def _hang_up(self, _app):
        for socket in set(self._sockets):
            await socket.close(code=1012)

    async def _location(self, request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"code": "token_invalid", "detail": "Unknown."}, status=401)
        body = await request.json()
        fault = self.faulty(body["device"])
        if fault == "refuse":
            return web.json_response({"code": "overloaded", "detail": "Later."}, status=503)
        receipt = self._store(body, "post") if fault != "lose" else None
        if fault in {"cut", "lose"}:
            request.transport.abort()
        return web.json_response(receipt or {})

    async def _socket(self, request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"code": "token_invalid", "detail": "Unknown."}, status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        await socket.send_json({"type": "message", "text": "Drive safely."})
        try:
            async for frame in socket:
                assert frame.type is WSMsgType.TEXT
                await self._answer(socket, request, orjson.loads(frame.data))
        finally:
            self._sockets.discard(socket)
        return socket

    async def _answer(self, socket, request, body):
        assert body["type"] == "batch"
        fault = self.faulty(body["device"])
        if fault == "refuse":
            await socket.send_json({"type": "error", "id": body["id"], "code": "overloaded", "detail": "Later."})
            return
        receipt = self._store(body, "socket") if fault != "lose" else None
        if fault in {"cut", "lose"}:
            request.transport.abort()
            return
        await socket.send_json(
            {"type": "receipt", "id": "some other batch", "stored": 0, "duplicate": 0, "rejected": []}
        )
        await socket.send_json({"type": "receipt", "id": body["id"], **receipt})

    def _store(self, body, way):
        self.ways.setdefault(way, set()).add(body["device"])
        times = [fix["timestamp"] for fix in body["fixes"]]
        self.arrivals.append((body["device"], now_millis(), times))
        stored = 0
        for fix in body["fixes"]:
            key = body["device"], fix["timestamp"]
            stored += key not in self.stored
            self.stored.setdefault(key, fix)
        return {"stored": stored, "duplicate": len(times) - stored, "rejected": []}


@asynccontextmanager
async def serving():
    server = Server()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def server():
    async with serving() as server:
        yield server


def options(server, **changes):
    quick = {"vehicles": 6, "sample_secs": 0.02, "send_secs": 0.1, "start_secs": 0.1, "run_secs": 1.2}
    rest = {
        "url": f"http://127.0.0.1:{server.port}",
        "token": TOKEN,
        "dead_zones": 0,
        "print_every_secs": 0.0,
        "repeat_share": 0.0,
    }
    return SimulateOptions(**quick | rest | changes)


async def test_half_post_and_half_use_the_socket_and_every_sample_is_stored(server):
    counts = await simulate(options(server, repeat_share=0.3))
    assert server.ways == {"post": {"truck-1", "truck-3", "truck-5"}, "socket": {"truck-2", "truck-4", "truck-6"}}
    assert counts.sampled == counts.stored == len(server.stored) > 6 * 20
    assert counts.repeated > 0
    assert counts.duplicate > 0
    assert counts.retries == counts.refused == 0


@pytest.mark.parametrize("socket_share", [0.0, 1.0])
@pytest.mark.parametrize("fault", ["refuse", "lose", "cut"])
async def test_a_batch_without_a_receipt_is_sent_again_until_it_is_stored(server, socket_share, fault):
    failing = {f"truck-{number}": 2 for number in range(1, 5)}

    def faulty(device):
        failing[device] -= 1
        return fault if failing[device] >= 0 else None

    server.faulty = faulty
    counts = await simulate(options(server, vehicles=4, socket_share=socket_share, run_secs=1.5))
    assert all(left < 0 for left in failing.values())
    assert counts.retries == 8
    assert counts.sampled == len(server.stored)
    # What was stored before its answer was cut comes back as a duplicate; otherwise nothing is stored twice.
    assert (counts.duplicate > 0) == (fault == "cut")
    assert counts.stored + counts.duplicate == counts.sampled


async def test_a_restart_of_the_server_loses_nothing(server):
    async with asyncio.timeout(20):
        running = asyncio.ensure_future(simulate(options(server, run_secs=3.0)))
        await asyncio.sleep(0.6)
        await server.stop()
        before = len(server.stored)
        assert before > 0
        await asyncio.sleep(0.6)
        assert len(server.stored) == before
        await server.start()
        counts = await running
    assert counts.retries > 0
    assert counts.sampled == len(server.stored) > before


async def test_fixes_of_a_dead_zone_arrive_later_as_one_burst_with_old_timestamps(server):
    async with Fleet(options(server, vehicles=2, run_secs=None)) as fleet:
        offline = [False]
        fleet._zones.contain = lambda _position: offline[0]
        running = asyncio.ensure_future(fleet.run())
        await asyncio.sleep(0.6)
        offline[0], offline_since = True, now_millis()
        await asyncio.sleep(0.2)  # batches in flight when the network was lost
        silent_from = len(server.arrivals)
        await asyncio.sleep(0.6)
        assert len(server.arrivals) == silent_from
        offline[0] = False
        await asyncio.sleep(0.4)
        running.cancel()
        await asyncio.wait([running])
        await fleet.flush()
        assert fleet.counts.bursts == 2
        assert fleet.counts.sampled == len(server.stored)
    first = {}
    for device, arrived_at, times in server.arrivals[silent_from:]:
        first.setdefault(device, (arrived_at, times))
    assert first.keys() == {"truck-1", "truck-2"}
    for arrived_at, times in first.values():
        assert len(times) > 25
        assert times == sorted(times)
        assert arrived_at - times[0] > 500
        assert times[0] >= offline_since - 200


async def test_every_vehicle_is_known_at_once_even_where_there_is_no_network(server):
    async with Fleet(options(server, run_secs=0.8)) as fleet:
        fleet._zones.contain = lambda _position: True
        await fleet.run()
        assert {device for device, _ in server.stored} == {f"truck-{number}" for number in range(1, 7)}
        assert len(server.arrivals) == 6
        await fleet.flush()


async def test_cancelling_sends_buffered_fixes_and_ends_in_time(server):
    running = asyncio.ensure_future(simulate(options(server, send_secs=60.0, run_secs=None)))
    async with asyncio.timeout(20):
        while {device for device, _ in server.stored} != {f"truck-{number}" for number in range(1, 7)}:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.8)
    before = len(server.stored)
    began_secs = monotonic_secs()
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()
    assert monotonic_secs() - began_secs < 2
    assert {device for device, _ in server.stored} == {f"truck-{number}" for number in range(1, 7)}
    assert len(server.stored) > before + 6 * 10


async def test_cancelling_without_a_server_ends_in_time(server):
    await server.stop()
    running = asyncio.ensure_future(simulate(options(server, run_secs=None)))
    await asyncio.sleep(0.5)
    began_secs = monotonic_secs()
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()
    assert monotonic_secs() - began_secs < 3
    await server.start()


@pytest.mark.parametrize("socket_share", [0.0, 1.0])
async def test_a_refused_token_ends_the_fleet(server, socket_share):
    with pytest.raises(Problem, match="token_invalid"):
        async with asyncio.timeout(5):
            await simulate(options(server, token="fwi_wrong", socket_share=socket_share, run_secs=None))
    assert server.stored == {}


async def test_the_status_line_has_the_counters(server, capsys):
    await simulate(options(server, print_every_secs=0.2, run_secs=1.2))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert "vehicles 6" in lines[0]
    assert "buffered 0" in lines[-1]
