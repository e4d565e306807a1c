"""Three times as much arrives as the store can take: the excess is told to come back, and nobody else suffers.

The store is slowed by PostgreSQL's own `commit_delay`: every commit takes a tenth of a second, as on a slow disk. With
one committer and small groups its rate is known, whatever the machine.
"""

import asyncio
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import pytest

from harness import database
from harness.client import Client
from harness.fixes import now_millis, track
from harness.ledger import Ledger
from harness.process import serving

COMMIT_SECS = 0.1
GROUP_FIXES = 6
STORABLE_PER_SEC = GROUP_FIXES / COMMIT_SECS  # batches of one fix, at most
OFFERED_PER_SEC = 3 * STORABLE_PER_SEC
WARM_SECS = 3  # after so long, memory has what it needs
LOAD_SECS = 7
DEVICES = 30
GROWTH_BYTES = 24 << 20
SETTINGS = {
    # The event loop's debug mode would make the server the slow part.
    "PYTHONASYNCIODEBUG": "",
    "FLEETWIRE_WRITER_CONNECTIONS": "1",
    "FLEETWIRE_GROUP_FIXES": str(GROUP_FIXES),
    "FLEETWIRE_UPKEEP_SECS": "0",
}


INTAKE_SECS = 1  # a full intake, by either bound
BOUNDS = {
    "by count": {"FLEETWIRE_INTAKE_BATCHES": str(round(STORABLE_PER_SEC * INTAKE_SECS)), "FLEETWIRE_INTAKE_SECS": "60"},
    "by time": {"FLEETWIRE_INTAKE_SECS": str(INTAKE_SECS)},
}


@pytest.fixture(scope="module", params=BOUNDS.values(), ids=BOUNDS)
def server(module_database, request):
    name = urlsplit(module_database).path.removeprefix("/")
    for setting, value in {"commit_delay": round(COMMIT_SECS * 1e6), "commit_siblings": 0}.items():
        database.run(database.execute(module_database, f"ALTER DATABASE {name} SET {setting} = {value}"))
    with serving("--database-url", module_database, settings=SETTINGS | request.param) as running:
        yield running
        assert running.stop() == 0
        assert running.faults() == []


def _resident_bytes(pid):
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


class Answered(NamedTuple):
    """What one sender was told, and after how long."""

    status: int
    retry_after: str | None
    secs: float


class Load:
    """Senders that come at a steady pace, whether those before them were answered or not."""

    def __init__(self, client, token, ledger):
        self._client = client
        self._token = token
        self._ledger = ledger
        self._start_millis = now_millis() - 3_600_000
        self._sent = 0

    async def offer(self, *, per_sec, secs):
        """Sends for so long; the answers under way."""
        loop = asyncio.get_running_loop()
        began, sending = loop.time(), []
        for number in range(round(per_sec * secs)):
            await asyncio.sleep(max(0.0, began + number / per_sec - loop.time()))
            sending.append(asyncio.ensure_future(self.send()))
        return sending

    async def send(self):
        """A batch of one fix."""
        number, self._sent = self._sent, self._sent + 1
        fixes = track(1, start_millis=self._start_millis + number // DEVICES * 100)
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._ledger.send(self._client, self._token, f"car-{number % DEVICES}", fixes)
        assert answer is not None
        return Answered(answer.status, answer.headers.get("Retry-After"), loop.time() - began)


@pytest.fixture
async def patient():
    """Connections for as many senders as come."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as opened:
        yield opened


async def _watched(pid, work):
    """The result of some work, and the process's memory meanwhile."""
    running, resident_bytes = asyncio.ensure_future(work), []
    while not running.done():
        await asyncio.sleep(0.2)
        resident_bytes.append(_resident_bytes(pid))
    return await running, resident_bytes


async def _until_taken(load):
    """Sends as told until a batch is taken; how long that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (answered := await load.send()).status != 200:
        await asyncio.sleep(int(answered.retry_after))
    return loop.time() - began


async def test_the_excess_is_refused_and_what_is_taken_is_quick(server, tenant, patient):
    (worker,), ledger = server.workers(), Ledger()
    load = Load(Client(server.url, patient), tenant.ingest, ledger)
    easy = await asyncio.gather(*await load.offer(per_sec=STORABLE_PER_SEC / 4, secs=2))
    assert {each.status for each in easy} == {200}

    early = await load.offer(per_sec=OFFERED_PER_SEC, secs=WARM_SECS)
    late, resident_bytes = await _watched(worker, load.offer(per_sec=OFFERED_PER_SEC, secs=LOAD_SECS))
    recovered_secs = await _until_taken(load)
    answered = await asyncio.gather(*early, *late)

    assert max(resident_bytes) - resident_bytes[0] < GROWTH_BYTES, resident_bytes
    taken = sorted(each.secs for each in answered if each.status == 200)
    refused = sorted(each.secs for each in answered if each.status == 503)
    assert len(taken) + len(refused) == len(answered)
    assert ledger.refusals.keys() == {(503, "intake_full")}
    assert {each.retry_after for each in answered if each.status == 503} == {"1"}
    # The store was busy all the time, and most of the rest was refused at once.
    assert len(taken) > STORABLE_PER_SEC * LOAD_SECS / 5
    assert len(refused) > len(answered) / 4
    assert refused[len(refused) // 2] < taken[len(taken) // 2]
    # Who is taken waits for a full intake at most. Without a bound, the last ones would wait for twice the load's time.
    full_intake_secs = INTAKE_SECS * STORABLE_PER_SEC * (WARM_SECS + LOAD_SECS) / len(taken)
    assert taken[len(taken) * 99 // 100] < 2 * full_intake_secs + 1
    assert recovered_secs < 2 * full_intake_secs + 2
    await ledger.verify(tenant.dsn, tenant.name)
