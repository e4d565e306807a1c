"""Every valid fix exactly once: whatever the slices, the order, the repeats, the senders, and a kill in the middle.

What must be stored is counted from the files by the tests' own reader, and compared position by position.
"""

import asyncio
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetwire.replay import ReplayOptions, ReplaySummary, replay
from harness.database import stored
from harness.process import Server, command, environment, free_port, serving
from harness.tenants import Tenant
from harness.traces import FOLDER, REAL, Truth, rows, synthetic, truth

# The event loop's debug mode makes a server several times slower; other tests run with it.
QUICK = {"PYTHONASYNCIODEBUG": ""}
REPLAY_LIMIT_SECS = 240.0

needs_traces = pytest.mark.skipif(not REAL, reason=f"*** THE REAL TRACES ARE NOT IN {FOLDER}: SKIPPED ***")


@pytest.fixture(scope="module")
def server(module_database: str) -> Iterator[Server]:
    """A server at its usual speed."""
    with serving("--database-url", module_database, settings=QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real traces where they are, otherwise a made-up one that repeats, disorders and errs as they do."""
    return REAL or [synthetic(tmp_path_factory.mktemp("traces"))]


def _replay(url: str, token: str, files: list[Path], *options: object) -> "subprocess.Popen[str]":
    arguments = ["replay", *files, "--url", url, "--json", *options]
    return subprocess.Popen(
        command(*(str(argument) for argument in arguments)),
        env=environment({**QUICK, "FLEETWIRE_TOKEN": token}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _summary(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=REPLAY_LIMIT_SECS)
    assert process.returncode == 0, err[-2000:]
    summary: dict[str, Any] = json.loads(out)
    assert summary["stored"] + summary["duplicate"] + sum(summary["rejected"].values()) == summary["sent"]
    return summary


def _check(dsn: str, tenant: Tenant, expected: Truth) -> None:
    found = asyncio.run(stored(dsn, tenant.name))
    twice = [key for key, count in Counter((each.device, each.millis) for each in found).items() if count > 1]
    assert twice == []
    places = {(each.device, each.millis): (each.lat_e7, each.lon_e7) for each in found}
    assert places.keys() == expected.keys()
    assert [key for key, place in places.items() if place not in expected[key]] == []


@needs_traces
@pytest.mark.traces
@pytest.mark.timeout(600)
def test_the_whole_of_the_real_traces_and_once_more(server: Server, tenant: Tenant) -> None:
    expected = truth(rows(REAL))
    count = sum(1 for _ in rows(REAL))
    first = _summary(_replay(server.url, tenant.ingest, REAL))
    assert (first["sent"], first["stored"]) == (count, len(expected))
    _check(tenant.dsn, tenant, expected)
    second = _summary(_replay(server.url, tenant.ingest, REAL))
    assert (second["stored"], second["duplicate"]) == (0, count - sum(first["rejected"].values()))
    assert second["rejected"] == first["rejected"]


def test_a_second_replay_stores_nothing(server: Server, tenant: Tenant, files: list[Path]) -> None:
    limit = 20_000
    expected = truth(rows(files, limit))
    first = _summary(_replay(server.url, tenant.ingest, files, "--limit", limit))
    refused = sum(first["rejected"].values())
    assert first["stored"] == len(expected)
    second = _summary(_replay(server.url, tenant.ingest, files, "--limit", limit, "--batch-size", 333))
    assert (second["stored"], second["duplicate"]) == (0, first["sent"] - refused)
    assert second["rejected"] == first["rejected"]
    _check(tenant.dsn, tenant, expected)


@pytest.mark.parametrize(("batch_size", "limit"), [(1, 1_500), (7, 6_000), (500, 40_000)])
def test_shuffled_cut_and_repeated(
    server: Server, tenant: Tenant, files: list[Path], batch_size: int, limit: int
) -> None:
    options = ["--batch-size", batch_size, "--limit", limit, "--shuffle", batch_size, "--overlap", 0.3]
    summary = _summary(_replay(server.url, tenant.ingest, files, *options))
    expected = truth(rows(files, limit))
    assert summary["stored"] == len(expected)
    assert summary["sent"] > min(limit, sum(1 for _ in rows(files, limit)))
    _check(tenant.dsn, tenant, expected)


def test_eight_senders_at_once_that_all_send_everything(server: Server, tenant: Tenant, files: list[Path]) -> None:
    limit = 3_000
    senders = [
        ReplayOptions(
            files=tuple(map(str, files)), url=server.url, token=tenant.ingest, limit_rows=limit, shuffle_seed=number,
            batch_size=3 + 11 * number, senders=2, show_progress=False,
        )
        for number in range(8)
    ]  # fmt: skip

    async def send_at_once() -> list[ReplaySummary]:
        return await asyncio.gather(*map(replay, senders))

    summaries = asyncio.run(send_at_once())
    expected = truth(rows(files, limit))
    assert sum(summary.stored for summary in summaries) == len(expected)
    for summary in summaries:
        assert summary.stored + summary.duplicate + sum(summary.rejected.values()) == summary.sent
    _check(tenant.dsn, tenant, expected)


def test_a_server_killed_and_started_again_in_the_middle(scratch_dir: Path, files: list[Path]) -> None:
    limit, port, chance = 20_000, free_port(), random.Random(3)
    data = scratch_dir / "data"
    server = Server("--data-dir", data, port=port, settings=QUICK).start()
    dsn = subprocess.check_output(command("db", "url", "--data-dir", data), env=environment(), text=True).strip()
    tenant = Tenant(dsn)
    running = _replay(server.url, tenant.ingest, files, "--limit", limit, "--batch-size", 20, "--overlap", 0.1)
    kills = 0
    while kills < 2:
        time.sleep(chance.uniform(0.2, 0.8))
        if running.poll() is not None:
            break
        server.kill()
        server.close()
        kills += 1
        server = Server("--data-dir", data, port=port, settings=QUICK).start()
    summary = _summary(running)
    try:
        assert kills > 0, "the replay ended before the first kill"
        assert summary["retries"] > 0
        # A receipt that a kill swallowed makes its fixes duplicates of the next try: there is no other way to fewer.
        missing = len(truth(rows(files, limit))) - summary["stored"]
        assert 0 <= missing <= kills * 8 * 20
        assert server.faults() == []
        _check(dsn, tenant, truth(rows(files, limit)))
    finally:
        server.close()
