"""A replay against a server that speaks the contract over real sockets: what is stored, and what the summary says."""

import asyncio
import csv
import gzip
import json
import random
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from fleetwire.errors import ConfigError, Problem
from fleetwire.replay import ReplayOptions, ReplayStopped, TraceError, replay
from fleetwire.runtime.clock import monotonic_secs, now_millis

TOKEN = "fwi_test"
TRACES = Path(__file__).parents[4] / "shared" / "data"


class Server:
    """Stores every (device, timestamp) once, like the real server; `faults` apply to the next answers."""

    def __init__(self):
        self.stored = {}
        self.batches = []
        self.faults = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.delay_secs = 0.0
        self.port = 0
        self._runner = None

    async def start(self):
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/api/driver/location", self._location)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self):
        await self._runner.cleanup()

    async def _location(self, request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return problem(401, "token_invalid", "The token is not known.")
        body = await request.json()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay_secs)
            fault = self.faults.pop(0) if self.faults else None
            if isinstance(fault, web.Response):
                return fault
            receipt = self._store(body)
            if fault == "cut":  # stored, but the answer never arrives
                request.transport.abort()
            if fault == "lie":
                receipt["stored"] += 1
            return web.json_response(receipt)
        finally:
            self.in_flight -= 1

    def _store(self, body):
        self.batches.append((monotonic_secs(), body))
        stored = duplicate = 0
        rejected = []
        for index, fix in enumerate(body["fixes"]):
            key = body["device"], fix["timestamp"]
            if not -90 <= fix["latitude"] <= 90:
                rejected.append({"index": index, "code": "latitude_range", "detail": "Out of range."})
            elif key in self.stored:
                duplicate += 1
            else:
                self.stored[key] = fix
                stored += 1
        return {"stored": stored, "duplicate": duplicate, "rejected": rejected}


def problem(status, code, detail, **headers):
    return web.json_response(
        {"status": status, "code": code, "detail": detail},
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )


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


def options(server, *files, **changes):
    return ReplayOptions(
        **{
            "files": tuple(map(str, files)),
            "url": f"http://127.0.0.1:{server.port}",
            "token": TOKEN,
            "show_progress": False,
            "retry_timeout_secs": 20.0,
        }
        | changes
    )


@pytest.fixture
def trace(tmp_path):
    """3,000 rows of 9 devices, ascending in time, with 100 repeated times and 10 impossible latitudes."""
    rng = random.Random(3)
    path = tmp_path / "trace.csv.gz"
    with gzip.open(path, "wt", newline="") as file:
        out = csv.writer(file)
        out.writerow(["device", "ts_ms", "lat", "lon", "alt_m", "speed_mps", "heading_deg", "accuracy_m"])
        for row in range(2900):
            lat = 91 if row % 290 == 7 else round(48 + rng.random(), 6)
            out.writerow([f"van-{row % 9}", 1_700_000_000_000 + row * 100, lat, 11.5, "", rng.choice(["", 3.5]), "", 5])
        for row in range(100):
            out.writerow([f"van-{row % 9}", 1_700_000_000_000 + row * 100, 48.5, 11.5, "", "", "", ""])
    return path


def distinct_valid(path, prefix=""):
    with gzip.open(path, "rt", newline="") as file:
        stored = {}
        for row in csv.DictReader(file):
            if abs(float(row["lat"])) <= 90:
                stored.setdefault((prefix + row["device"], int(row["ts_ms"])), (float(row["lat"]), float(row["lon"])))
        return stored


def positions(server):
    return {key: (fix["latitude"], fix["longitude"]) for key, fix in server.stored.items()}


def assert_kept_once(server, path):
    """Every time is stored, at a position it has in the file: of two for one time, the batch that came first won."""
    in_file = {}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if abs(float(row["lat"])) <= 90:
                places = in_file.setdefault((row["device"], int(row["ts_ms"])), set())
                places.add((float(row["lat"]), float(row["lon"])))
    stored = positions(server)
    assert stored.keys() == in_file.keys()
    assert all(place in in_file[key] for key, place in stored.items())


async def test_every_valid_fix_is_stored_once_and_a_second_replay_stores_none(server, trace):
    first = await replay(options(server, trace, senders=1))
    second = await replay(options(server, trace))

    assert positions(server) == distinct_valid(trace)
    assert (first.rows_read, first.sent, first.stored) == (3000, 3000, len(server.stored))
    assert first.rejected == {"latitude_range": 10}
    assert first.stored + first.duplicate + 10 == 3000
    assert (second.stored, second.duplicate, second.rejected) == (0, 2990, {"latitude_range": 10})


async def test_blanks_are_left_out_and_units_are_passed_on(server, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text(
        "device,ts_ms,lat,lon,alt_m,speed_mps,heading_deg,accuracy_m,battery\n"
        "van,1700000000000,48.1,11.5,,,,,\nvan,1700000001000,48.2,11.6,519,3.5,271,5,0.8\n"
    )
    await replay(options(server, path))
    body = server.batches[0][1]
    assert body["device"] == "van"
    assert body["fixes"] == [
        {"timestamp": 1700000000000, "latitude": 48.1, "longitude": 11.5},
        {
            "timestamp": 1700000001000,
            "latitude": 48.2,
            "longitude": 11.6,
            "altitude": 519.0,
            "speed": 3.5,
            "heading": 271.0,
            "accuracy": 5.0,
            "battery": 0.8,
        },
    ]


@pytest.mark.parametrize("batch_size", [1, 7, 500])
async def test_shuffled_overlapping_senders_store_the_same_set(server, trace, batch_size):
    server.delay_secs = 0.001
    summary = await replay(options(server, trace, batch_size=batch_size, shuffle_seed=5, overlap=0.5, senders=8))
    assert_kept_once(server, trace)
    assert summary.sent > 3000 * 1.2
    assert summary.stored == len(server.stored)
    assert summary.stored + summary.duplicate + sum(summary.rejected.values()) == summary.sent
    assert max(len(body["fixes"]) for _, body in server.batches) <= batch_size


async def test_several_connections_are_in_flight_at_once(server, trace):
    server.delay_secs = 0.02
    await replay(options(server, trace, batch_size=50, senders=8))
    assert server.most_in_flight == 8


async def test_temporary_failures_and_lost_answers_are_retried_without_loss(server, trace):
    server.faults = [
        problem(503, "overloaded", "Later.", **{"Retry-After": "1"}),
        "cut",
        problem(429, "rate_limited", "Slower."),
        problem(500, "internal", "Broken."),
        "cut",
    ]
    began_secs = monotonic_secs()
    summary = await replay(options(server, trace, batch_size=100, senders=2))
    assert server.faults == []
    assert summary.retries == 5
    assert_kept_once(server, trace)
    # The cut answers had been stored: their fixes come back as duplicates of the repeated batches.
    assert summary.sent == 3000
    assert summary.stored < len(server.stored)
    assert monotonic_secs() - began_secs >= 1  # Retry-After was honoured


async def test_a_restart_of_the_server_loses_nothing(server, trace):
    server.delay_secs = 0.01
    running = asyncio.ensure_future(replay(options(server, trace, batch_size=50, senders=4)))
    while len(server.batches) < 10:
        await asyncio.sleep(0.005)
    await server.stop()
    await asyncio.sleep(0.3)
    assert not running.done()
    await server.start()
    summary = await running
    assert summary.retries > 0
    assert summary.sent == 3000
    assert_kept_once(server, trace)


async def test_a_refused_token_stops_at_once_and_says_so(server, trace):
    began_secs = monotonic_secs()
    with pytest.raises(ReplayStopped, match=r"The token is not known\. \(token_invalid\)") as stopped:
        await replay(options(server, trace, token="fwi_wrong"))
    assert monotonic_secs() - began_secs < 5
    assert isinstance(stopped.value.reason, Problem)
    assert stopped.value.reason.status == 401
    assert stopped.value.summary.stored == 0
    assert server.stored == {}


async def test_a_refused_batch_stops_with_the_problem_code_and_the_summary(server, trace):
    server.faults = [None, problem(422, "device_unknown", "No such device.")]
    with pytest.raises(ReplayStopped, match="device_unknown") as stopped:
        await replay(options(server, trace, batch_size=100, senders=1))
    assert stopped.value.summary.sent == 100


async def test_without_a_server_the_retries_time_out(server, trace):
    await server.stop()
    with pytest.raises(ReplayStopped, match=r"No answer from http://127\.0\.0\.1") as stopped:
        await replay(options(server, trace, retry_timeout_secs=0.5))
    assert 0.4 < stopped.value.summary.secs < 5
    assert stopped.value.summary.retries > 0
    await server.start()


async def test_a_receipt_that_does_not_add_up_stops_the_replay(server, trace):
    server.faults = ["lie"]
    with pytest.raises(ReplayStopped, match="receipt_mismatch"):
        await replay(options(server, trace))


async def test_an_answer_that_is_no_receipt_stops_the_replay(server, trace):
    server.faults = [web.Response(text="<html>hello</html>")]
    with pytest.raises(ReplayStopped, match="receipt_unreadable"):
        await replay(options(server, trace))


async def test_a_redirect_is_not_followed_with_the_token(server, trace):
    server.faults = [web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})]
    with pytest.raises(ReplayStopped, match="http_307"):
        await replay(options(server, trace))


async def test_an_error_in_a_file_is_reported_with_the_counts_before_it(server, trace, tmp_path):
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(trace.read_bytes()[:-200])
    with pytest.raises(ReplayStopped, match=r"cut\.csv\.gz:\d+: ") as stopped:
        await replay(options(server, cut))
    assert isinstance(stopped.value.reason, TraceError)
    assert stopped.value.summary.rows_read > 0


async def test_a_speed_factor_keeps_recorded_time_and_order(server, tmp_path):
    path = tmp_path / "paced.csv"
    rows = [(f"van-{second % 3}", 1_700_000_000_000 + second * 1000) for second in range(60)]
    path.write_text("device,ts_ms,lat,lon\n" + "".join(f"{device},{at},48.1,11.5\n" for device, at in rows))
    began_secs = monotonic_secs()
    await replay(options(server, path, speed=60.0, batch_secs=10.0))
    secs = monotonic_secs() - began_secs
    assert 0.7 < secs < 3  # a recorded minute at factor 60
    last = [body["fixes"][-1]["timestamp"] for _, body in server.batches]
    assert len(server.stored) == 60
    assert last == sorted(last)
    for sent_at_secs, body in server.batches:
        due_secs = (body["fixes"][-1]["timestamp"] - rows[0][1]) / 1000 / 60
        # The clock starts with the first batch, whose last fix lies at most one batch after the first row.
        assert sent_at_secs - began_secs >= due_secs - 10 / 60 - 0.01
        assert body["fixes"][-1]["timestamp"] - body["fixes"][0]["timestamp"] < 10_000


async def test_shift_to_now_moves_all_times_by_the_same_amount_and_the_prefix_names_the_devices(server, trace):
    before = now_millis()
    await replay(options(server, trace, shift_to_now=True, device_prefix="copy-", limit_rows=2000))
    times = sorted(at for _, at in server.stored)
    assert all(device.startswith("copy-van-") for device, _ in server.stored)
    assert before <= times[-1] <= now_millis()
    assert times[-1] - times[0] == 1999 * 100


async def test_cancelling_ends_at_once(server, trace):
    server.delay_secs = 5
    running = asyncio.ensure_future(replay(options(server, trace)))
    await asyncio.sleep(0.2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(running, 2)
    assert running.cancelled()


async def test_the_summary_can_be_printed_and_is_json(server, trace):
    from rich.console import Console

    summary = await replay(options(server, trace))
    members = json.loads(json.dumps(summary.as_json()))
    assert members["sent"] == 3000
    assert 0 < members["receipt_p50_millis"] <= members["receipt_p95_millis"] <= members["receipt_p99_millis"]
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(summary)
    console.file.close()
    assert "latitude_range" in console.export_text()


def test_wrong_options_are_refused_by_name():
    good = {"files": ("a.csv",), "url": "http://x", "token": "t"}
    for wrong in (
        {"files": ()},
        {"batch_size": 0},
        {"batch_size": 10_001},
        {"speed": 0.0},
        {"overlap": 1.5},
        {"speed": 1.0, "shuffle_seed": 1},
        {"shift_to_now": True, "files": ("-",)},
    ):
        with pytest.raises(ConfigError, match=f"^{'|'.join(wrong)}"):
            ReplayOptions(**good | wrong)
    assert "fwi_secret" not in repr(ReplayOptions(**good | {"token": "fwi_secret"}))


@pytest.mark.traces
@pytest.mark.skipif(not TRACES.is_dir(), reason="the real traces are not beside this repository")
async def test_real_bus_trace_is_stored_position_by_position(server):
    path = TRACES / "austin_buses_2017.csv.gz"
    summary = await replay(options(server, path))
    assert summary.rows_read == 89_686
    assert_kept_once(server, path)
