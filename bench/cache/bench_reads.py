"""Cached reads over HTTP: how many, how quick, how many queries a cold one costs, and how small they get."""

import asyncio
from statistics import median, quantiles

from bench.cache.client import Users, request_bytes, requests_per_sec
from bench.cache.product import FRONT, ROUTE
from bench.cache.stage import START_MILLIS, TRACK_DEVICE, Stage
from fleetwire.cache.encodings import PREFERRED, compress

CACHED = "/api/devices?limit=20"
REPEAT = 5


async def throughput(stage: Stage, *, secs: float) -> dict[str, float]:
    """Requests a second of a cached route and of the empty ones, in turn, and the medians of their ratios."""
    _, body = await asyncio.to_thread(stage.get, CACHED, stage.reader)
    paths = {"cached": CACHED, "front": f"{FRONT}?bytes={len(body)}", "route": f"{ROUTE}?bytes={len(body)}"}
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(REPEAT):
        for name, path in paths.items():
            request = request_bytes(path, stage.reader)
            rates[name].append(await asyncio.to_thread(requests_per_sec, stage.port, request, secs=secs))
    by_front = [cached / empty for cached, empty in zip(rates["cached"], rates["front"], strict=True)]
    by_route = [cached / empty for cached, empty in zip(rates["cached"], rates["route"], strict=True)]
    return {
        "cached_requests_per_sec": median(rates["cached"]),
        "empty_front_requests_per_sec": median(rates["front"]),
        "empty_route_requests_per_sec": median(rates["route"]),
        "cached_over_empty_front": median(by_front),
        "cached_over_empty_route": median(by_route),
    }


async def users(stage: Stage, *, count: int, secs: float) -> dict[str, float]:
    """Latency of many users, and the handler calls that all of them at once cost for an answer nobody asked for yet."""
    crowd = Users(stage.port, request_bytes(CACHED, stage.reader))
    try:
        await crowd.connect(count)
        await crowd.at_once(request_bytes(CACHED, stage.reader))
        times = await crowd.at_leisure(secs)
        before = (await asyncio.to_thread(stage.figures))["handler_calls"]
        await crowd.at_once(request_bytes("/api/devices?limit=777", stage.reader))
        after = (await asyncio.to_thread(stage.figures))["handler_calls"]
    finally:
        crowd.close()
    percentiles = quantiles(times, n=100)
    return {
        "users": count,
        "p50_millis": percentiles[49],
        "p99_millis": percentiles[98],
        "queries_for_one_cold_entry": after - before,
    }


async def sizes(stage: Stage) -> dict[str, float]:
    """What compression leaves of the JSON answers, in percent."""
    span = f"from={START_MILLIS}&to={START_MILLIS + 86_400_000}"
    paths = {
        "live": "/api/live",
        "devices": "/api/devices?limit=1000",
        "track": f"/api/devices/{TRACK_DEVICE}/track?{span}",
        "openapi": "/openapi.json",
    }
    found: dict[str, float] = {}
    for name, path in paths.items():
        _, body = await asyncio.to_thread(stage.get, path, stage.reader)
        found[f"{name}_bytes"] = len(body)
        for encoding in PREFERRED[:-1]:
            found[f"{name}_{encoding}_percent"] = 100 * len(compress(body, encoding)) / len(body)
    return found
