"""Group commit: whatever arrived while the connection was busy is stored in the next transaction.

    write() -> intake.py (bounded) -> one of a few committers -> commit.py -> receipts

A receipt leaves only after its commit. A committer takes a group the moment it is free: there is no delay to tune, a
loaded server makes large groups by itself. Rows are locked in key order, so groups of several workers cannot deadlock
with each other.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import asyncpg
import structlog

from fleetwire import clock, metrics
from fleetwire._core import Batch, Group, Recent, RowTypes, Sealed
from fleetwire.errors import Overloaded
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.settings import Settings
from fleetwire.store.commit import GroupCommit, KnownMillis
from fleetwire.store.intake import Intake, Waiting, refuse
from fleetwire.store.lane import Lane
from fleetwire.store.partitions import Partitions

_log = structlog.get_logger(__name__)

RECENT_FIXES = 2_000_000  # 16 MB; of 10,000 vehicles the last 200 fixes each
_NOWHERE = RowTypes(track_segment=0, moved_position=0, packed_int4=0)  # of rows that are not written


class Writer:
    """Stores batches exactly once.

    `on_stored` is told of each group after its commit, `on_doubt` of the (tenant, device) of one that may have been
    committed unheard; they must not fail. What `known_millis` says may be out of date.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        partitions: Partitions,
        settings: Settings,
        known_millis: KnownMillis,
        on_stored: Callable[[Sealed], object],
        on_doubt: Callable[[Iterable[tuple[int, int]]], object] = lambda _: None,
    ) -> None:
        """`pool` has a connection for each committer."""
        self._pool = pool
        self._settings = settings
        self._known_millis = known_millis
        self._recent = Recent(max_fixes=RECENT_FIXES)
        self._on_stored = on_stored
        self._on_doubt = on_doubt
        self._partitions = partitions
        self._intake = Intake(settings)
        self._committers: list[SupervisedTask] = []

    async def start(self) -> None:
        """Makes today's partitions and starts the committers."""
        await self._partitions.ahead()
        self._committers = [self._start_committer(number) for number in range(self._settings.writer_connections)]

    async def stop(self, *, within_secs: float) -> None:
        """Refuses new batches and returns when every held one is answered; those that take longer get 503."""
        self._intake.close()
        await asyncio.gather(*(each.wait(timeout_secs=within_secs) for each in self._committers))
        self._intake.refuse_held()

    def write(self, tenant_id: int, device_id: int, batch: Batch) -> Coroutine[Any, Any, bytes]:
        """Stores a batch and returns its receipt as JSON. Cancelling does not take the batch back.

        Raises:
            Overloaded: the intake is full or the server stops; nothing was acknowledged.
            DatabaseAway: it stayed away; nothing was acknowledged.
        """
        return self._intake.put(tenant_id, device_id, batch) if batch.accepted else _refused(batch)

    @property
    def held_batches(self) -> int:
        """Batches that wait for a commit."""
        return len(self._intake)

    def _start_committer(self, committer: int) -> SupervisedTask:
        # Behind a new connection may be a database that was put back, or another one that took its place.
        lane = Lane(self._pool, replaced=self._recent.forget)
        commit = GroupCommit(
            lane,
            self._partitions,
            known_millis=self._known_millis,
            recent=self._recent,
            patience_secs=self._settings.patience_secs,
        )

        async def commit_next() -> None:
            group = await self._intake.next_group(committer)
            try:
                await self._answer(group, commit)
            except BaseException:
                # Nobody else has this group: its senders must not wait for what does not come.
                refuse(group, _failed())
                raise
            finally:
                self._intake.note_answered(committer)
            if not self._intake.is_open:
                await lane.give_back()

        return supervise(commit_next, name=f"committer-{committer}", goes_on=lambda: self._intake.is_open)

    async def _answer(self, waiting: Sequence[Waiting], on: GroupCommit, *, parted: bool = False) -> None:
        """Commits a group and gives each sender its receipt, or all of them the same refusal.

        A group that fails for a reason of its own is halved and tried again, so that one batch that cannot be stored
        does not take the others with it. `parted`: what is locked by others was told apart already.
        """
        if not waiting:
            return
        began_secs = clock.monotonic_secs()
        group = Group([(each.tenant_id, each.device_id, each.batch) for each in waiting])
        try:
            sealed = await on.commit(group, waits_for_locks=parted, on_doubt=lambda: self._doubt(waiting))
        except asyncpg.LockNotAvailableError:
            free = await on.free_devices((each.tenant_id, each.device_id) for each in waiting)
            for is_free in (True, False):
                part = [each for each in waiting if ((each.tenant_id, each.device_id) in free) is is_free]
                await self._answer(part, on, parted=True)
            return
        except Overloaded as refusal:
            refuse(waiting, refusal)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not leave the senders waiting
            if len(waiting) > 1:
                middle = len(waiting) // 2
                await self._answer(waiting[:middle], on)
                await self._answer(waiting[middle:], on)
                return
            _log.exception("A batch could not be stored.", device_id=waiting[0].device_id)
            refuse(waiting, _failed(error))
            return
        self._intake.note_stored(waiting, began_secs=began_secs)
        for each, receipt in zip(waiting, sealed.receipts(), strict=True):
            if not each.receipt.done():
                each.receipt.set_result(receipt)
        self._tell(sealed)

    def _doubt(self, waiting: Sequence[Waiting]) -> None:
        self._on_doubt((each.tenant_id, each.device_id) for each in waiting)

    def _tell(self, sealed: Sealed) -> None:
        metrics.FIXES_STORED.inc(sealed.stored)
        metrics.FIXES_DUPLICATE.inc(sealed.duplicate)
        try:
            self._on_stored(sealed)
        except Exception:  # noqa: BLE001
            # After the commit nothing may fail the sender: watchers miss a movement, the store does not.
            metrics.AFTER_COMMIT_FAILURES.inc()
            _log.exception("Telling watchers of a stored group failed.")


def _failed(cause: Exception | None = None) -> Overloaded:
    failed = Overloaded("store_failed", "The batch is not acknowledged; send it again.", retry_after_secs=5)
    # The spool sees by it whether the batch itself is at fault.
    failed.__cause__ = cause
    return failed


async def _refused(batch: Batch) -> bytes:
    """The receipt of a batch of which nothing was accepted: no transaction is needed for it."""
    sealed = Group([(0, 0, batch)]).seal(
        last_fixed_millis=[None], stored=[], recent=Recent(max_fixes=0), received_at_millis=0, row_types=_NOWHERE
    )
    return sealed.receipts()[0]
