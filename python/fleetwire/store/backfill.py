"""Stores batches that would hold up the others of their group, one after the other on a connection of their own.

    committer -> its fixes need more partitions than are made for a group   -+
                 they reach back to many days of history                     +-> put() (bounded) -> pieces -> receipt
                 it stands alone, and the server stopped it for its time     -+

A batch is cut into pieces of a bounded number of UTC days. Each is a transaction: the device's row is locked for one at
a time, so that its other batches, and the groups they are in, wait for no more than that. The receipt leaves after the
last one. What fails in the middle is partly stored; the sender sends all of it again, and the stored part is duplicate.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from math import ceil
from typing import Final, NamedTuple

import structlog

from fleetwire._core import Batch, Group, Sealed
from fleetwire.errors import Overloaded
from fleetwire.runtime import clock
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.store.commit import GroupCommit
from fleetwire.store.commit_queue import WaitingBatch, intake_full, refuse, stopping
from fleetwire.store.group_bounds import TooSlow, WithoutPartition
from fleetwire.store.partitions import Partitions
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)

MAX_BATCHES: Final = 64
MAX_TENANT_BATCHES: Final = 32
MAX_PARTITIONS: Final = 64  # of one batch at a time: half a second, or some seconds on a slow disk
PIECE_DAYS: Final = 128  # 40 ms where each of them has merged rows to look into
PARTS: Final = 8  # into which a piece is cut that the server stopped


class _Entry(NamedTuple):
    waiting: WaitingBatch
    give_up_at_secs: float


class Backfill:
    """A bounded queue of such batches, and the task that stores them."""

    def __init__(
        self,
        commit: GroupCommit,
        partitions: Partitions,
        *,
        patience_secs: float,
        statement_secs: float,
        on_stored: Callable[[Sealed], object],
        on_doubt: Callable[[Iterable[WaitingBatch]], object],
    ) -> None:
        """`statement_secs` is how long a statement of a piece may run that can be cut further."""
        self._commit = commit
        self._partitions = partitions
        self._patience_secs = patience_secs
        self._statement_secs = statement_secs
        self._on_stored = on_stored
        self._on_doubt = on_doubt
        self._entries: deque[_Entry] = deque()
        self._by_tenant: Counter[int] = Counter()
        self._arrived = asyncio.Event()
        self._is_open = True
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Starts the task."""
        self._task = supervise(self._store_next, name="backfill", goes_on=self._goes_on)

    async def stop(self, *, within_secs: float) -> None:
        """Stores what waits, for at most so long, and takes nothing more."""
        self._is_open = False
        self._arrived.set()
        if self._task is not None:
            await self._task.wait(timeout_secs=within_secs)
            await self._task.stop()
        refuse((entry.waiting for entry in self._entries), stopping())

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, waiting: WaitingBatch) -> None:
        """Takes a batch over from a committer; refuses it where there is no room."""
        if not self._is_open:
            refuse([waiting], stopping())
        elif len(self._entries) >= MAX_BATCHES or self._by_tenant[waiting.tenant_id] >= MAX_TENANT_BATCHES:
            metrics.BACKFILL_REFUSED.inc()
            refuse([waiting], intake_full())
        else:
            self._entries.append(_Entry(waiting, clock.monotonic_secs() + self._patience_secs))
            self._by_tenant[waiting.tenant_id] += 1
            metrics.BACKFILL_BATCHES.set(len(self._entries))
            self._arrived.set()

    def _goes_on(self) -> bool:
        return self._is_open or bool(self._entries)

    async def _store_next(self) -> None:
        await self._arrived.wait()
        if not self._entries:
            if self._is_open:
                self._arrived.clear()
            return
        entry = self._entries[0]
        waiting = entry.waiting
        try:
            receipt = await self._store(waiting, entry.give_up_at_secs)
        except Overloaded as refusal:
            refuse([waiting], refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not leave the sender waiting
            _log.exception("A batch could not be stored.", device_id=waiting.device_id)
            refuse([waiting], failed(error))
        else:
            metrics.BACKFILLED.inc()
            if not waiting.receipt.done():
                waiting.receipt.set_result(receipt)
        finally:
            self._entries.popleft()
            self._by_tenant[waiting.tenant_id] -= 1
            self._by_tenant += Counter()  # without those of which nothing waits
            metrics.BACKFILL_BATCHES.set(len(self._entries))

    async def _store(self, waiting: WaitingBatch, give_up_at_secs: float) -> bytes:
        if clock.monotonic_secs() >= give_up_at_secs:
            raise intake_full()
        batch = waiting.batch
        await self._make_partitions(batch, give_up_at_secs)
        stored = duplicate = 0
        pieces = deque(batch.by_days(PIECE_DAYS))
        while pieces:
            piece = pieces.popleft()
            try:
                sealed = await self._store_piece(waiting, piece, give_up_at_secs)
            except TooSlow:
                days = len(piece.days)
                if days == 1:
                    raise _too_slow() from None
                pieces.extendleft(reversed(piece.by_days(ceil(days / PARTS))))
                continue
            except WithoutPartition:
                raise _day_unavailable() from None
            ((new, known),) = sealed.tallies()
            stored, duplicate = stored + new, duplicate + known
            self._on_stored(sealed)
        return batch.receipt(stored=stored, duplicate=duplicate)

    async def _store_piece(self, waiting: WaitingBatch, piece: Batch, give_up_at_secs: float) -> Sealed:
        """One transaction. A single day may take all of the time that is left."""
        left_secs = give_up_at_secs - clock.monotonic_secs()
        return await self._commit.commit(
            Group([(waiting.tenant_id, waiting.device_id, piece)]),
            generation=waiting.generation,
            give_up_at_secs=give_up_at_secs,
            waits_for_locks=True,
            on_doubt=lambda: self._on_doubt([waiting]),
            # The server ends it before the connection would be cut, so that nothing runs on there.
            statement_secs=0.9 * left_secs if len(piece.days) == 1 else min(self._statement_secs, left_secs),
        )

    async def _make_partitions(self, batch: Batch, give_up_at_secs: float) -> None:
        made = await self._partitions.make(
            batch.days, max_partitions=MAX_PARTITIONS, give_up_at_secs=give_up_at_secs - self._patience_secs / 2
        )
        if made.detached_days:
            raise _day_unavailable()
        if made.days_left:
            if made.error is not None and not made.count:
                raise made.error
            raise _spread(made.count, len(made.days_left))


def failed(cause: Exception | None = None) -> Overloaded:
    """The refusal of a batch that cannot be stored as it is."""
    refusal = Overloaded("store_failed", "The batch is not acknowledged; send it again.", retry_after_secs=5)
    # The spool sees by it whether the batch itself is at fault.
    refusal.__cause__ = cause
    return refusal


def _too_slow() -> Overloaded:
    detail = "Storing the batch took too long; send it again, in smaller batches if you can."
    return Overloaded("store_timeout", detail, retry_after_secs=30)


def _day_unavailable() -> Overloaded:
    detail = "The batch has fixes of a day whose storage is being removed or put back; send it again."
    return Overloaded("day_unavailable", detail, retry_after_secs=60)


def _spread(made: int, days_left: int) -> Overloaded:
    metrics.SPREAD_BATCHES.inc()
    detail = (
        f"The fixes lie on more days than are made ready at once: {made} parts of the history were made, "
        f"{days_left} days are left. Send the batch again until it is stored."
    )
    return Overloaded("timestamp_spread", detail, retry_after_secs=1)
