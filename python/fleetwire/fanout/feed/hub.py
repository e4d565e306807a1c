"""Who watches which tenant. Once a tick, the watchers of tenants with movement are woken; each takes its own frame."""

import asyncio

from fleetwire.fanout.feed.feed_cursor import FeedCursor
from fleetwire.fanout.feed.feed_latency import FeedLatency
from fleetwire.fanout.feed.send_budget import SendBudget
from fleetwire.live.state import Live
from fleetwire.live.ticker import Ticker
from fleetwire.runtime import clock
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.telemetry import metrics

ROUNDS_PER_HEARTBEAT = 8  # looks for feeds that were silent too long; one is late by an eighth at most


class Hub:
    """The watchers of this worker."""

    def __init__(
        self, live: Live, delay: FeedLatency, *, tick_millis: int, heartbeat_secs: float, settle_millis: int = 0
    ) -> None:
        self._live = live
        self.delay = delay
        self.turns = SendBudget()
        self._rhythm = Ticker(tick_millis=tick_millis, settle_millis=settle_millis)
        self._heartbeat_secs = heartbeat_secs
        self._watchers: dict[int, set[FeedCursor]] = {}
        self._tasks: list[SupervisedTask] = []

    async def start(self) -> None:
        """Starts the tick and the heartbeats."""
        self._tasks = [
            supervise(self._tick_next, name="feed-tick"),
            supervise(self._beat_next, name="feed-heartbeat"),
        ]

    async def stop(self) -> None:
        """Ends them."""
        for task in self._tasks:
            await task.stop()

    def add(self, outbox: FeedCursor) -> None:
        """From now on the outbox is woken."""
        self._watchers.setdefault(outbox.tenant_id, set()).add(outbox)

    def remove(self, outbox: FeedCursor) -> None:
        """No longer."""
        watchers = self._watchers.get(outbox.tenant_id, set())
        watchers.discard(outbox)
        if not watchers:
            self._watchers.pop(outbox.tenant_id, None)

    def hasten(self) -> None:
        """Another worker's movements arrived: they do not wait for a whole tick."""
        self._rhythm.hasten()

    def resync(self) -> None:
        """The epoch is a new one: every watcher is told."""
        for outboxes in self._watchers.values():
            for outbox in outboxes:
                outbox.wake()

    def begin_anew(self, tenant_id: int) -> None:
        """What the tenant's watchers were told counts no more: each gets `resync` and a snapshot."""
        for outbox in self._watchers.get(tenant_id, ()):
            outbox.begin_anew()

    async def _tick_next(self) -> None:
        await self._rhythm.beat()
        self.delay.ticked()
        for tenant_id in self._live.tick():
            for outbox in self._watchers.get(tenant_id, ()):
                outbox.wake()
        metrics.FRAMES_RENDERED.value, metrics.FRAMES_SHARED.value = self._live.count_frames()

    async def _beat_next(self) -> None:
        await asyncio.sleep(self._heartbeat_secs / ROUNDS_PER_HEARTBEAT)
        silent_since_secs = clock.monotonic_secs() - self._heartbeat_secs
        for watchers in self._watchers.values():
            for outbox in watchers:
                outbox.beat(silent_since_secs=silent_since_secs)
