"""Batches that wait for a commit: bounded in number, in fixes and, while the store is behind, in time."""

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleetwire._core import Batch
from fleetwire.errors import Overloaded
from fleetwire.postgres.incarnation import Incarnation
from fleetwire.runtime import clock
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

HELP_AFTER_SECS = 0.2  # several times what a group takes under full load
SHORT_INTAKE_BATCHES = 32  # so many may always wait: a rate that was measured on fewer says little


@dataclass(slots=True, eq=False)
class WaitingBatch:
    """A batch, and who waits for its receipt."""

    tenant_id: int
    device_id: int
    batch: Batch
    receipt: asyncio.Future[bytes]
    arrived_secs: float
    generation: int
    """Of the database (`incarnation.py`) whose numbers of the tenant and the device these are."""

    @property
    def device(self) -> tuple[int, int]:
        """(tenant, device)."""
        return self.tenant_id, self.device_id


class _UnderWay(NamedTuple):
    """A group that is being committed."""

    batches: int
    since_secs: float


class CommitQueue:
    """A queue from which whole groups are taken."""

    def __init__(self, settings: Settings, incarnation: Incarnation) -> None:
        self._settings = settings
        self._incarnation = incarnation
        self._waiting: deque[WaitingBatch] = deque()
        self._fixes = 0
        self._storable_batches = math.inf  # within `intake_secs`, as far as the store is known to be behind
        self._held: set[WaitingBatch] = set()  # here or in a commit, and somebody waits for the receipt
        self._under_way: dict[int, _UnderWay] = {}  # by committer
        self._idle: deque[asyncio.Future[None]] = deque()  # committers that wait for a group
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether there is, or may come, something to take."""
        return bool(self._waiting) or not self._closed

    async def put(self, tenant_id: int, device_id: int, batch: Batch) -> bytes:
        """Waits for the receipt of a batch. Cancelling does not take the batch back.

        Raises:
            Overloaded: the intake is full or closed, or whoever took the batch refused it.
        """
        self._admit(batch)
        receipt: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting = WaitingBatch(
            tenant_id, device_id, batch, receipt, clock.monotonic_secs(), self._incarnation.generation
        )
        self._waiting.append(waiting)
        self._fixes += batch.accepted
        self._held.add(waiting)
        if self._idle and self._is_worth_a_group():
            _wake(self._idle.popleft())
        try:
            return await receipt
        finally:
            self._held.discard(waiting)

    async def next_group(self, committer: int) -> list[WaitingBatch]:
        """Waits for batches that are worth a transaction; none only if the intake is closed.

        One committer takes whatever there is. Another joins it when as many batches wait as are being committed, since
        groups of half the size cost nearly as much as whole ones; or when the first is held up, by a lock on one device
        or by history it has to read.
        """
        loop = asyncio.get_running_loop()
        while not self._closed and not (self._waiting and (self._is_worth_a_group() or self._is_held_up())):
            woken = loop.create_future()
            self._idle.append(woken)
            timer = loop.call_later(HELP_AFTER_SECS, _wake, woken)
            try:
                await woken
            finally:
                timer.cancel()
                if woken in self._idle:
                    self._idle.remove(woken)
        group = self._take()
        self._under_way[committer] = _UnderWay(len(group), clock.monotonic_secs())
        return group

    def note_answered(self, committer: int) -> None:
        """The group that the committer took last is answered."""
        del self._under_way[committer]
        if self._idle and self._waiting:
            _wake(self._idle.popleft())

    def _is_worth_a_group(self) -> bool:
        return not self._under_way or len(self._waiting) >= min(each.batches for each in self._under_way.values())

    def _is_held_up(self) -> bool:
        oldest_secs = min(each.since_secs for each in self._under_way.values())
        return clock.monotonic_secs() - oldest_secs > HELP_AFTER_SECS

    def note_stored(self, group: Sequence[WaitingBatch], *, began_secs: float) -> None:
        """Bounds the intake by time: what would wait too long is better refused at once, while its sender listens.

        Only a store that is behind is measured. One that keeps up makes small groups, which say nothing of its rate.
        """
        intake_secs = self._settings.intake_secs
        self._storable_batches = math.inf
        if began_secs - group[0].arrived_secs > intake_secs / 2:
            group_secs = max(1e-3, clock.monotonic_secs() - began_secs)
            self._storable_batches = max(SHORT_INTAKE_BATCHES, len(group) / group_secs * intake_secs)

    def close(self) -> None:
        """Takes no more batches."""
        self._closed = True
        while self._idle:
            _wake(self._idle.popleft())

    def refuse_held(self) -> None:
        """Answers everyone who still waits, here or in a commit."""
        refuse(self._held, stopping())

    def _admit(self, batch: Batch) -> None:
        if self._closed:
            raise stopping()
        settings = self._settings
        full = len(self._waiting) >= min(settings.intake_batches, self._storable_batches)
        if full or self._fixes + batch.accepted > settings.intake_fixes:
            metrics.INTAKE_REFUSED.inc()
            raise intake_full()

    def _take(self) -> list[WaitingBatch]:
        group: list[WaitingBatch] = []
        fixes = 0
        while self._waiting and (not group or fixes + self._waiting[0].batch.accepted <= self._settings.group_fixes):
            waiting = self._waiting.popleft()
            fixes += waiting.batch.accepted
            group.append(waiting)
        self._fixes -= fixes
        return group


def _wake(committer: asyncio.Future[None]) -> None:
    if not committer.done():
        committer.set_result(None)


def refuse(waiting: Iterable[WaitingBatch], refusal: Overloaded) -> None:
    """Gives senders that still wait a refusal."""
    for each in waiting:
        if not each.receipt.done():
            each.receipt.set_exception(refusal)


def intake_full() -> Overloaded:
    """The refusal of a batch for which there is no room."""
    return Overloaded("intake_full", "More arrives than can be stored; send it again.", retry_after_secs=1)


def stopping() -> Overloaded:
    """The refusal of what arrives during a stop."""
    return Overloaded("stopping", "The server is stopping; send the batch again.", retry_after_secs=2)
