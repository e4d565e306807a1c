"""The connection between workers: Pub/Sub that is watched over, made again after every failure, and never waited for.

    open -> subscribe on every channel -> connected -> read, publish, watch for silence --+
     ^                                                                                    |
     +---------------- wait, longer each time, within a bound <--------- lost <--------+

A server that is frozen answers nothing and refuses nothing. So each worker must hear something on every channel, if
only its own heartbeat, within `SILENT_SECS`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NoReturn

from redis.asyncio.client import PubSub

from fleetwire.redis.topology import PublishQueue, RedisRoute, close, open_routes
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.supervisor import NEVER_UNREADY, SupervisedTask, supervise
from fleetwire.runtime.tasks import spawn
from fleetwire.settings.redis_url import RedisAddress
from fleetwire.telemetry import metrics

SILENT_SECS: Final = 4.0
OPEN_SECS: Final = 5.0
CLOSE_SECS: Final = 1.0
PIPELINE_BYTES: Final = 1 << 20  # published at once; then the next look at what else there is


class _SilentError(ConnectionError):
    """A channel on which nothing is heard any more."""


class RelayConnection:
    """Publishes to and hears from the other workers.

    `heard` is called with (channel, message), `connected` when every channel is subscribed, `lost` when that ends; all
    in the event loop's thread, and none may block.
    """

    def __init__(
        self,
        address: RedisAddress,
        channels: Sequence[str],
        *,
        queue_bytes: int,
        heard: Callable[[str, bytes], None],
        connected: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._address = address
        self._channels = tuple(channels)
        self._queue_bytes = queue_bytes
        self._heard = heard
        self._connected = connected
        self._lost = lost
        self._lanes: dict[str, PublishQueue] = {}
        self._unconfirmed: set[str] = set()
        self._heard_at_secs: dict[str, float] = {}
        self._waiting_bytes = 0
        self._task: SupervisedTask | None = None
        self._first = asyncio.Event()
        self.is_connected = False
        self.connections = 0

    @property
    def wait_secs(self) -> float:
        """The pause before the next try while the connection is lost."""
        return 0.0 if self._task is None else self._task.state.pause_secs

    async def start(self, *, wait_secs: float) -> None:
        """Returns when every channel is subscribed, or after `wait_secs`: then it goes on trying in the background."""
        self._task = supervise(self._serve, name="relay", unready_after_secs=NEVER_UNREADY)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), wait_secs)

    async def stop(self) -> None:
        """Sends what waits, as far as that takes no longer than `CLOSE_SECS`, and closes."""
        if self.is_connected:
            idle = [lane.idle.wait() for lane in set(self._lanes.values())]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*idle), CLOSE_SECS)
        await supervisor.stop(self._task)

    def send(self, channel: str, message: bytes) -> bool:
        """Puts a message into the queue; False if it is full or nobody is connected, and the message is dropped."""
        if not self.is_connected:
            metrics.RELAY_DROPPED.labels("disconnected").inc()
            return False
        if self._waiting_bytes + len(message) > self._queue_bytes:
            metrics.RELAY_DROPPED.labels("full").inc()
            return False
        self._waiting_bytes += len(message)
        self._lanes[channel].put(channel, message)
        return True

    async def _serve(self) -> None:
        """One connection from its opening to its end, which is an exception."""
        routes = await asyncio.wait_for(open_routes(self._address, self._channels), OPEN_SECS)
        pubsubs = [route.client.pubsub() for route in routes]
        tasks: set[asyncio.Task[Exception]] = set()
        try:
            self._lanes = {channel: lane for lane in map(PublishQueue, routes) for channel in lane.route.channels}
            self._unconfirmed = set(self._channels)
            self._heard_at_secs = dict.fromkeys(self._channels, clock.monotonic_secs())
            for route, pubsub in zip(routes, pubsubs, strict=True):
                tasks.add(spawn(_failure(self._read(route, pubsub)), name="relay-read"))
                tasks.add(spawn(_failure(self._publish(self._lanes[route.channels[0]])), name="relay-publish"))
            tasks.add(spawn(_failure(self._watch()), name="relay-watch"))
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            raise ended.pop().result()
        finally:
            self._drop()
            await _end(tasks)
            for pubsub, route in zip(pubsubs, routes, strict=True):
                await close(pubsub, route, within_secs=CLOSE_SECS)

    async def _read(self, route: RedisRoute, pubsub: PubSub) -> NoReturn:
        for channel in route.channels:
            # One by one: a Cluster refuses a subscription to several slots.
            await (pubsub.ssubscribe(channel) if route.is_sharded else pubsub.subscribe(channel))
        while True:
            message = await pubsub.get_message(timeout=None)
            if message is not None:
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        channel, kind = message["channel"].decode(), message["type"]
        if kind in {"message", "smessage"}:
            self._heard_at_secs[channel] = clock.monotonic_secs()
            self._heard(channel, message["data"])
        elif kind in {"subscribe", "ssubscribe"}:
            self._unconfirmed.discard(channel)
            if not self._unconfirmed and not self.is_connected:
                self.is_connected = True
                self.connections += 1
                metrics.RELAY_CONNECTED.set(1)
                metrics.RELAY_CONNECTIONS.inc()
                self._connected()
                self._first.set()
                if self._task is not None:
                    self._task.record_success()
        else:
            # A slot that moved to another shard ends its subscriptions.
            raise _SilentError(f"the server ended the subscription to {channel}")

    async def _publish(self, lane: PublishQueue) -> NoReturn:
        command = "SPUBLISH" if lane.route.is_sharded else "PUBLISH"
        while True:
            await lane.arrived.wait()
            if not (taken := lane.take(at_most_bytes=PIPELINE_BYTES)):
                lane.arrived.clear()
                lane.idle.set()
                continue
            async with lane.route.client.pipeline(transaction=False) as pipeline:
                for channel, message in taken:
                    pipeline.execute_command(command, channel, message)
                await pipeline.execute()
            self._waiting_bytes -= sum(len(message) for _, message in taken)
            metrics.RELAY_MESSAGES.labels("out").inc(len(taken))
            metrics.RELAY_BYTES.labels("out").inc(sum(len(message) for _, message in taken))

    async def _watch(self) -> NoReturn:
        while True:
            await asyncio.sleep(SILENT_SECS / 8)
            silent_since_secs = clock.monotonic_secs() - SILENT_SECS
            for channel, heard_at_secs in self._heard_at_secs.items():
                if heard_at_secs < silent_since_secs:
                    raise _SilentError(f"nothing was heard on {channel} for {SILENT_SECS} s")

    def _drop(self) -> None:
        left = sum(len(lane.waiting) for lane in set(self._lanes.values()))
        metrics.RELAY_DROPPED.labels("disconnected").inc(left)
        self._lanes, self._waiting_bytes = {}, 0
        if self.is_connected:
            self.is_connected = False
            metrics.RELAY_CONNECTED.set(0)
            self._lost()


async def _failure(work: Coroutine[Any, Any, NoReturn]) -> Exception:
    """What ended `work`. Returned: that a connection breaks is not an error of this server."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - whatever it is, the connection begins anew
        return error


async def _end(tasks: set[asyncio.Task[Exception]]) -> None:
    """Cancels until all are gone: the client library now and then swallows a cancellation and goes on."""
    left = tasks
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CLOSE_SECS)
