"""Who watches which tenant. Once a tick, the watchers of tenants with movement are woken; each takes its own frame."""

import asyncio

from fleetwire.fanout.delay import Delay
from fleetwire.fanout.outbox import Outbox
from fleetwire.live.state import Live
from fleetwire.tasks import cancel, spawn


class Hub:
    """The watchers of this worker."""

    def __init__(self, live: Live, delay: Delay, *, tick_millis: int) -> None:
        self._live = live
        self.delay = delay
        self._tick_secs = tick_millis / 1000
        self._watchers: dict[int, set[Outbox]] = {}
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the tick."""
        self._ticking = spawn(self._tick_forever(), name="feed-tick")

    async def stop(self) -> None:
        """Ends it."""
        await cancel(self._ticking)

    def add(self, outbox: Outbox) -> None:
        """From now on the outbox is woken."""
        self._watchers.setdefault(outbox.tenant_id, set()).add(outbox)

    def remove(self, outbox: Outbox) -> None:
        """No longer."""
        watchers = self._watchers.get(outbox.tenant_id, set())
        watchers.discard(outbox)
        if not watchers:
            self._watchers.pop(outbox.tenant_id, None)

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(self._tick_secs)
            self.delay.ticked()
            for tenant_id in self._live.tick():
                for outbox in self._watchers.get(tenant_id, ()):
                    outbox.wake()
