"""Senders that go on through every fault: each sends batch after batch, and each batch until it is acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from .client import Client
from .fixes import now_millis, track
from .ledger import Ledger

FIXES = 5  # of a batch
PAUSE_SECS = 0.01  # between batches: enough of them to be hit in the middle, and processor time left for the fault
PATIENCE_SECS = 0.1  # a sender of a test does not wait for as long as it is told
HEAL_SECS = 40.0


class Senders:
    """A few senders, each of a device of its own; one that got no receipt tries the next server."""

    def __init__(self, clients: Sequence[Client], token: str, ledger: Ledger, *, count: int) -> None:
        self._clients = clients
        self._token = token
        self._ledger = ledger
        self._stopping = False
        self._giving_up = False
        self._done = [0] * count  # batches acknowledged, of each sender
        self._told_nothing = [0] * count

    async def run(self) -> None:
        """Sends until `stop`."""
        await asyncio.gather(*map(self._send, range(len(self._done))))

    def stop(self) -> None:
        """Each sender ends with its batch under way acknowledged."""
        self._stopping = True

    def give_up(self) -> None:
        """Each sender ends with its try under way, whatever it is told."""
        self._stopping = self._giving_up = True

    async def acknowledged(self, more: int = 1) -> None:
        """Waits until every sender got so many receipts more."""
        await self._grown(self._done, more)

    async def refused(self) -> None:
        """Waits until every sender was once more told to send again, or nothing."""
        await self._grown(self._told_nothing, 1)

    async def _grown(self, counts: list[int], more: int) -> None:
        goals = [count + more for count in counts]
        async with asyncio.timeout(HEAL_SECS):
            while any(count < goal for count, goal in zip(counts, goals, strict=True)):
                await asyncio.sleep(0.02)

    async def _send(self, number: int) -> None:
        client = number
        start_millis = now_millis() - 30 * 60_000
        # Every other sender repeats a fix of the batch before the last one: such groups are committed in steps.
        new_fixes = FIXES - number % 2
        while not self._stopping:
            step = self._done[number]
            first_millis = start_millis + step * new_fixes * 10
            fixes = track(new_fixes, start_millis=first_millis, step_millis=10)
            if number % 2:
                fixes = track(1, start_millis=first_millis - 2 * new_fixes * 10) + fixes
            while not self._giving_up:
                answer = await self._ledger.send(
                    self._clients[client % len(self._clients)], self._token, f"car-{number}", fixes
                )
                if answer is not None and answer.status in {200, 202}:
                    self._done[number] += 1
                    break
                self._told_nothing[number] += 1
                client += 1
                await asyncio.sleep(PATIENCE_SECS)
            await asyncio.sleep(PAUSE_SECS)


@asynccontextmanager
async def sending(clients: Sequence[Client], token: str, ledger: Ledger, *, count: int = 6) -> AsyncIterator[Senders]:
    """Senders for the time of a block; at its end they have receipts for all that they sent."""
    senders = Senders(clients, token, ledger, count=count)
    running = asyncio.ensure_future(senders.run())
    try:
        await senders.acknowledged(3)
        yield senders
        senders.stop()
        async with asyncio.timeout(HEAL_SECS):
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
