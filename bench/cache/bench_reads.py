"""Measures cached reads over HTTP: rate, latency, handler calls of a cold entry, and compressed sizes."""

import asyncio
from dataclasses import dataclass
from statistics import median, quantiles

from bench.cache.client import Users, request_bytes, requests_per_sec
from bench.cache.fleet import START_MILLIS, TRACK_DEVICE, cache_stats, get
from bench.server.cached_app import FRONT, ROUTE
from fleetwire.cache.encodings import PREFERRED, compress

CACHED = "/api/devices?limit=20"
COLD = "/api/devices?limit=777"
REPEAT = 5


@dataclass(frozen=True, slots=True)
class Reads:
    """Measures the reads of one server."""

    port: int
    token: str
    """Credential of the reads."""
    admin_token: str
    """Credential for the cache's counters."""

    async def throughput(self, *, secs: float) -> dict[str, float]:
        """Returns requests per second of a cached route and of the empty ones, and medians of their ratios."""
        body = await asyncio.to_thread(get, self.port, CACHED, self.token)
        paths = {"cached": CACHED, "front": f"{FRONT}?bytes={len(body)}", "route": f"{ROUTE}?bytes={len(body)}"}
        rates: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(REPEAT):
            for name, path in paths.items():
                request = request_bytes(path, self.token)
                rates[name].append(await asyncio.to_thread(requests_per_sec, self.port, request, secs=secs))
        by_front = [cached / empty for cached, empty in zip(rates["cached"], rates["front"], strict=True)]
        by_route = [cached / empty for cached, empty in zip(rates["cached"], rates["route"], strict=True)]
        return {
            "cached_requests_per_sec": median(rates["cached"]),
            "empty_front_requests_per_sec": median(rates["front"]),
            "empty_route_requests_per_sec": median(rates["route"]),
            "cached_over_empty_front": median(by_front),
            "cached_over_empty_route": median(by_route),
        }

    async def users(self, *, count: int, secs: float) -> dict[str, float]:
        """Returns the latency of many users, and the handler calls when all of them request a cold entry at once."""
        users = Users(self.port, request_bytes(CACHED, self.token))
        try:
            await users.connect(count)
            await users.send_at_once(request_bytes(CACHED, self.token))
            times = await users.send_every_second(secs)
            before = await self._handler_calls()
            await users.send_at_once(request_bytes(COLD, self.token))
            after = await self._handler_calls()
        finally:
            users.close()
        percentiles = quantiles(times, n=100)
        return {
            "users": count,
            "p50_millis": percentiles[49],
            "p99_millis": percentiles[98],
            "queries_for_one_cold_entry": after - before,
        }

    async def sizes(self) -> dict[str, float]:
        """Returns the sizes of JSON answers and their compressed sizes in percent."""
        span = f"from={START_MILLIS}&to={START_MILLIS + 86_400_000}"
        paths = {
            "live": "/api/live",
            "devices": "/api/devices?limit=1000",
            "track": f"/api/devices/{TRACK_DEVICE}/track?{span}",
            "openapi": "/openapi.json",
        }
        found: dict[str, float] = {}
        for name, path in paths.items():
            body = await asyncio.to_thread(get, self.port, path, self.token)
            found[f"{name}_bytes"] = len(body)
            for encoding in PREFERRED[:-1]:
                found[f"{name}_{encoding}_percent"] = 100 * len(compress(body, encoding)) / len(body)
        return found

    async def _handler_calls(self) -> int:
        stats = await asyncio.to_thread(cache_stats, self.port, self.admin_token)
        return int(stats["handler_calls"])
