"""Locust users against a real server without the web page, and compared with the load generator."""

import asyncio
import json
import subprocess
import sys

import asyncpg
import pytest

from harness.process import ROOT, environment

pytestmark = pytest.mark.timeout(240)

USERS = 40
SHARES = """
import json, sys
from bench.shapes.burst import Burst
from bench.shapes.morning import MorningStart
from bench.shapes.ramp import Ramp
from bench.shapes.steady import Steady
from bench.shapes.storm import ReconnectStorm
shapes = (Burst, MorningStart, Ramp, ReconnectStorm, Steady)
json.dump({shape.__name__: [shape().share(step / 100) for step in range(100)] for shape in shapes}, sys.stdout)
"""


def stored_fixes(dsn):
    async def count():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval("SELECT count(*) FROM fix")
        finally:
            await connection.close()

    return asyncio.run(count())


def test_every_kind_of_user_does_its_work(bench, server, tenant, module_database, tmp_path, result):
    arguments = ("-H", server.url, "-u", USERS, "-r", USERS, "-t", "8s", "--save", tmp_path)
    bench(
        "locust",
        *("-f", "bench/locustfile.py", "--headless", "--only-summary", *arguments),
        FLEETWIRE_TOKEN=tenant.ingest,
        FLEETWIRE_WATCH_TOKEN=tenant.dispatcher,
    )
    found = result()
    entries = {entry["name"]: entry for entry in found["entries"]}
    assert found["errors"] == []
    assert {"POST /api/driver/location", "WS /ws batch", "WS /ws/dispatch snapshot"} <= set(entries)
    assert any(name.startswith("GET /api/") for name in entries), "a reader chooses its requests at random"
    assert all(entry["failures"] == 0 for entry in entries.values())
    batches = entries["POST /api/driver/location"]["requests"] + entries["WS /ws batch"]["requests"]
    counts = found["counts"]
    assert counts["batches"] == batches
    assert counts["stored"] == 10 * batches
    # A user that was stopped before the receipt may have stored a batch that is not counted.
    assert 0 <= stored_fixes(module_database) - counts["stored"] <= 10 * USERS
    assert counts["positions"] > 0
    assert entries["WS /ws/dispatch moved"]["requests"] > 0


def test_users_follow_a_shape(bench, server, tenant, tmp_path, result):
    bench(
        "locust",
        *("-f", "bench/locustfile.py,bench/shapes/storm.py", "--headless", "--only-summary", "SocketDriver"),
        *("-H", server.url, "-u", 10, "-t", "10s", "--every-secs", 0.5, "--save", tmp_path),
        FLEETWIRE_TOKEN=tenant.ingest,
    )
    found = result()
    assert found["shape"] == "ReconnectStorm"
    entries = {entry["name"]: entry for entry in found["entries"]}
    assert entries["WS /ws open"]["requests"] == 20  # ten users, and all of them again


def test_shapes_keep_their_bounds():
    done = subprocess.run(
        [sys.executable, "-c", SHARES],
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": f"{ROOT}:{ROOT / 'python'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    shares = json.loads(done.stdout)
    assert len(shares) == 5
    for name, values in shares.items():
        assert all(0 <= value <= 1 for value in values), name
    assert set(shares["Steady"]) == {1.0}
    assert shares["Ramp"] == sorted(shares["Ramp"])
    assert shares["ReconnectStorm"][0] == shares["ReconnectStorm"][99] == 1
    assert min(shares["ReconnectStorm"]) == 0
    assert shares["MorningStart"][0] < 0.1
    assert max(shares["MorningStart"]) > 0.9
    assert shares["MorningStart"][99] == 0.85
    highs = [place for place, value in enumerate(shares["Burst"]) if value == 1 and shares["Burst"][place - 1] < 1]
    assert len(highs) == 5


def test_locust_and_the_load_generator_agree(bench, loadgen):
    # A wide factor, because the test machine may be busy; the default is for a quiet one.
    out = bench("bench.cross_check", "--users", 50, "--secs", 8, "--factor", 50, "--loadgen", loadgen)
    assert "| fixes_per_sec |" in out
