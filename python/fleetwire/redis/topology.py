"""From an address of Redis or Valkey to connections: which server has which channel."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fleetwire.settings.redis_url import RedisAddress

# A server that needs longer for one command is away.
ANSWER_SECS = 3.0
# What a command ends with when the server does not answer it. uvloop calls a connection that was cut while it was being
# written to a RuntimeError.
FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)
LIMITS: dict[str, Any] = {
    "socket_timeout": ANSWER_SECS,
    "socket_connect_timeout": ANSWER_SECS,
    # Pub/Sub in RESP3 brings pushes of a maintenance protocol that Valkey does not have.
    "protocol": 2,
}


def options(address: RedisAddress) -> dict[str, Any]:
    """What a client of a data server is made with. It tries nothing twice: that would hide an outage from its user."""
    return {**address.options, **LIMITS, "retry": Retry(NoBackoff(), 0)}


@dataclass(frozen=True, slots=True, eq=False)
class RedisRoute:
    """One data server and the channels that are its business."""

    client: Redis
    channels: tuple[str, ...]
    is_sharded: bool


async def open_routes(address: RedisAddress, channels: Sequence[str]) -> list[RedisRoute]:
    """Finds the server of each channel: the one there is, the present master, or a shard's primary.

    Connections are made with the first command. Close each route's client.

    Raises:
        RedisError: the Sentinels or the Cluster's nodes cannot say.
    """
    if address.form == "cluster":
        return await _shards(address, channels)
    if address.path is not None:
        client = Redis(unix_socket_path=address.path, **options(address))
    elif address.form == "sentinel":
        host, port = await _master(address)
        client = Redis(host=host, port=port, **options(address))
    else:
        host, port = address.hosts[0]
        client = Redis(host=host, port=port, **options(address))
    return [RedisRoute(client, tuple(channels), is_sharded=False)]


async def locate(address: RedisAddress, tag: str) -> tuple[str, int]:
    """Host and port of the present master, or of the primary that has all names with `{tag}` in them.

    Raises:
        RedisError: the Sentinels or the Cluster's nodes cannot say.
    """
    if address.form == "sentinel":
        return await _master(address)
    found = await _primaries(address, [f"{{{tag}}}"])
    if not found:
        raise RedisError("No node of the Cluster has the slot.")
    return next(iter(found))


async def _master(address: RedisAddress) -> tuple[str, int]:
    kwargs = {**LIMITS, "retry": Retry(NoBackoff(), 0)}
    sentinels = Sentinel(address.hosts, sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call]
    try:
        host, port = await sentinels.discover_master(address.master or "")
    finally:
        for sentinel in sentinels.sentinels:
            await sentinel.aclose()
    return str(host), int(port)


async def _shards(address: RedisAddress, channels: Sequence[str]) -> list[RedisRoute]:
    return [
        RedisRoute(Redis(host=host, port=port, **options(address)), tuple(of_primary), is_sharded=True)
        for (host, port), of_primary in (await _primaries(address, channels)).items()
    ]


async def _primaries(address: RedisAddress, names: Sequence[str]) -> dict[tuple[str, int], list[str]]:
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    cluster = RedisCluster(startup_nodes=nodes, **options(address))
    try:
        await cluster.initialize()  # type: ignore[unused-awaitable]
        by_primary: dict[tuple[str, int], list[str]] = {}
        for name in names:
            node = cluster.get_node_from_key(name)
            if node is not None:
                by_primary.setdefault((node.host, int(node.port)), []).append(name)
    finally:
        await cluster.aclose()
    return by_primary


class PublishQueue:
    """A route with what waits to be published on it."""

    def __init__(self, route: RedisRoute) -> None:
        self.route = route
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.arrived = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    def put(self, channel: str, message: bytes) -> None:
        """The message waits; whoever puts it minds the bound."""
        self.waiting.append((channel, message))
        self.idle.clear()
        self.arrived.set()

    def take(self, *, at_most_bytes: int) -> list[tuple[str, bytes]]:
        """What waits, up to about so many bytes."""
        taken: list[tuple[str, bytes]] = []
        size_bytes = 0
        while self.waiting and size_bytes < at_most_bytes:
            taken.append(self.waiting.popleft())
            size_bytes += len(taken[-1][1])
        return taken


async def close(pubsub: PubSub, route: RedisRoute, *, within_secs: float) -> None:
    """Closes a subscription and its client. A server that is frozen does not answer to a farewell."""
    with contextlib.suppress(TimeoutError, OSError, RedisError):
        async with asyncio.timeout(within_secs):
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await route.client.aclose()
