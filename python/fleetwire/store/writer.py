"""Group commit: whatever arrived while the connection was busy is stored in the next transaction.

    write() -> intake.py (bounded) -> one of a few committers -> commit.py -> receipts

A receipt leaves only after its commit. A committer takes a group the moment it is free: there is no delay to tune, a
loaded server makes large groups by itself. Rows are locked in key order, so groups of several workers cannot deadlock
with each other.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import asyncpg
import structlog

from fleetwire._core import Batch, Group, Recent, RowTypes, Sealed
from fleetwire.errors import Overloaded
from fleetwire.postgres.incarnation import Incarnation
from fleetwire.postgres.pinned_connection import PinnedConnection
from fleetwire.runtime import clock
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.settings import Settings
from fleetwire.store.backfill import Backfill, failed
from fleetwire.store.commit import GroupCommit, KnownMillis
from fleetwire.store.commit_queue import CommitQueue, WaitingBatch, refuse
from fleetwire.store.group_bounds import Divisible, FarBack, WithoutPartition, group_timeout_secs
from fleetwire.store.group_parts import Part, SlowDevices, told_apart
from fleetwire.store.partitions import Partitions
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)

GROUP_PARTITIONS: Final = 2  # made for a group; more of them for a batch alone
FEW_BATCHES: Final = 16  # that are handed on, instead of making the others of their group wait for a partition
TIMEOUT_PARTS: Final = 8  # of a group that the server stopped: each try costs the others a timeout, so few of them
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
        incarnation: Incarnation | None = None,
    ) -> None:
        """`pool` has a connection for each committer and one more; its new connections are noted by `incarnation`."""
        self._incarnation = incarnation or Incarnation()
        self._pool = pool
        self._settings = settings
        self._known_millis = known_millis
        self._recent = Recent(max_fixes=RECENT_FIXES)
        self._on_stored = on_stored
        self._on_doubt = on_doubt
        self._partitions = partitions
        self._intake = CommitQueue(settings, self._incarnation)
        self._committers: list[SupervisedTask] = []
        self._slow_devices = SlowDevices()
        # Behind a new connection may be a database that was put back, or another one that took its place.
        self._backfill = Backfill(
            self._open_commit(PinnedConnection(pool, replaced=self._recent.forget), is_bounded=False),
            partitions,
            patience_secs=settings.patience_secs,
            statement_secs=group_timeout_secs(settings),
            on_stored=self._tell,
            on_doubt=self._doubt,
        )

    async def start(self) -> None:
        """Makes today's partitions and starts the committers."""
        await self._partitions.ahead()
        self._committers = [self._start_committer(number) for number in range(self._settings.writer_connections)]
        self._backfill.start()

    async def stop(self, *, within_secs: float) -> None:
        """Refuses new batches and returns when every held one is answered; those that take longer get 503."""
        give_up_at_secs = clock.monotonic_secs() + within_secs
        self._intake.close()
        await asyncio.gather(*(each.wait(timeout_secs=within_secs) for each in self._committers))
        await self._backfill.stop(within_secs=max(0.0, give_up_at_secs - clock.monotonic_secs()))
        self._intake.refuse_held()

    def write(self, tenant_id: int, device_id: int, batch: Batch) -> Coroutine[Any, Any, bytes]:
        """Stores a batch and returns its receipt as JSON. Cancelling does not take the batch back.

        Raises:
            Overloaded: the intake is full or the server stops; nothing was acknowledged.
            DatabaseAway: it stayed away; nothing was acknowledged.
        """
        return self._intake.put(tenant_id, device_id, batch) if batch.accepted else _refused(batch)

    def forget_recent(self) -> None:
        """Clears the cache of recent batches: rows of theirs may have been deleted."""
        self._recent.forget()

    async def reload(self) -> None:
        """Clears what is known of the database before, and reads which partitions the one of now has."""
        self._recent.forget()
        await self._partitions.learn()

    @property
    def held_batches(self) -> int:
        """Batches that wait for a commit."""
        return len(self._intake) + len(self._backfill)

    def _start_committer(self, committer: int) -> SupervisedTask:
        # Behind a new connection may be a database that was put back, or another one that took its place.
        lane = PinnedConnection(self._pool, replaced=self._recent.forget)
        commit = self._open_commit(lane)

        async def commit_next() -> None:
            group = await self._intake.next_group(committer)
            try:
                await self._answer(group, commit)
            except BaseException:
                # Nobody else has this group: its senders must not wait for what does not come.
                refuse(group, failed())
                raise
            finally:
                self._intake.note_answered(committer)
            if not self._intake.is_open:
                await lane.give_back()

        return supervise(commit_next, name=f"committer-{committer}", goes_on=lambda: self._intake.is_open)

    def _open_commit(self, lane: PinnedConnection, *, is_bounded: bool = True) -> GroupCommit:
        return GroupCommit(
            lane,
            self._partitions,
            known_millis=self._known_millis,
            recent=self._recent,
            incarnation=self._incarnation,
            is_bounded=is_bounded,
        )

    async def _answer(self, waiting: Sequence[WaitingBatch], on: GroupCommit) -> None:
        """Commits a group and gives each sender its receipt or a refusal.

        A group that cannot be committed as it is comes apart: what is locked by others, what would hold up the rest,
        and where nobody can tell, one half from the other, until the batch at fault stands alone. The parts of a part
        come after all others, and what is locked after those, so that what can be stored is stored first.
        """
        give_up_at_secs = clock.monotonic_secs() + self._settings.patience_secs
        waiting = self._hand_on_slow(waiting) if self._slow_devices else waiting
        parts = deque([Part(waiting)] if waiting else [])  # none at the end of a stop
        locked: deque[Part] = deque()
        while parts or locked:
            part = (parts or locked).popleft()
            for each in await self._commit(part, on, give_up_at_secs):
                if each.waiting:
                    (locked if each.is_locked else parts).append(each)

    async def _commit(self, part: Part, on: GroupCommit, give_up_at_secs: float) -> list[Part]:
        """Commits a part of a group, or returns the parts in which it shall be committed."""
        waiting, began_secs = part.waiting, clock.monotonic_secs()
        group = Group([(each.tenant_id, each.device_id, each.batch) for each in waiting])
        try:
            sealed = await on.commit(
                group,
                generation=min(each.generation for each in waiting),
                give_up_at_secs=give_up_at_secs,
                waits_for_locks=part.waits_for_locks,
                on_doubt=lambda: self._doubt(waiting),
            )
        except asyncpg.LockNotAvailableError:
            limit_secs = self._settings.patience_secs
            free = await on.free_devices((each.device for each in waiting), limit_secs=limit_secs)
            locked, others = told_apart(waiting, lambda each: each.device not in free)
            return [Part(others, waits_for_locks=True), Part(locked, waits_for_locks=True, is_locked=True)]
        except Divisible as divisible:
            return await self._divide(part, divisible, give_up_at_secs)
        except Overloaded as refusal:
            refuse(waiting, refusal)
            return []
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not leave the senders waiting
            if len(waiting) > 1:
                return part.cut(2)
            _log.exception("A batch could not be stored.", device_id=waiting[0].device_id)
            refuse(waiting, failed(error))
            return []
        self._intake.note_stored(waiting, began_secs=began_secs)
        for each, receipt in zip(waiting, sealed.receipts(), strict=True):
            if not each.receipt.done():
                each.receipt.set_result(receipt)
        self._tell(sealed)
        return []

    async def _divide(self, part: Part, divisible: Divisible, give_up_at_secs: float) -> list[Part]:
        """Hands on what would hold up the others, and returns the parts that do not."""
        waiting = part.waiting
        if isinstance(divisible, WithoutPartition):
            apart, rest = told_apart(waiting, lambda each: not divisible.days.isdisjoint(each.batch.days))
            if (not rest or len(apart) > FEW_BATCHES) and await self._make_partitions(divisible.days, give_up_at_secs):
                return [part]
        elif isinstance(divisible, FarBack):
            apart, rest = told_apart(waiting, lambda each: each.device in divisible.devices)
        elif len(waiting) > 1:
            return part.cut(TIMEOUT_PARTS)
        else:
            apart, rest = list(waiting), []
            self._slow_devices.note(waiting[0])
        for each in apart:
            self._backfill.put(each)
        return [part._replace(waiting=rest)]

    def _hand_on_slow(self, waiting: Sequence[WaitingBatch]) -> Sequence[WaitingBatch]:
        """Hands on batches of devices of which one took too long a moment ago, and returns the others."""
        apart, rest = told_apart(waiting, self._slow_devices.includes)
        for each in apart:
            self._backfill.put(each)
        return rest

    async def _make_partitions(self, days: frozenset[int], give_up_at_secs: float) -> bool:
        """Makes what most of a group needs, as on a new day; False if that is too much, or does not work now."""
        if len(days) > GROUP_PARTITIONS or self._partitions.is_troubled:
            return False
        made = await self._partitions.make(sorted(days), max_partitions=len(days), give_up_at_secs=give_up_at_secs)
        return not made.days_left and not made.detached_days

    def _doubt(self, waiting: Iterable[WaitingBatch]) -> None:
        self._on_doubt(each.device for each in waiting)

    def _tell(self, sealed: Sealed) -> None:
        metrics.FIXES_STORED.inc(sealed.stored)
        metrics.FIXES_DUPLICATE.inc(sealed.duplicate)
        try:
            self._on_stored(sealed)
        except Exception:  # noqa: BLE001
            # After the commit nothing may fail the sender: watchers miss a movement, the store does not.
            metrics.AFTER_COMMIT_FAILURES.inc()
            _log.exception("Telling watchers of a stored group failed.")


async def _refused(batch: Batch) -> bytes:
    """The receipt of a batch of which nothing was accepted: no transaction is needed for it."""
    sealed = Group([(0, 0, batch)]).seal(
        last_fixed_millis=[None], stored=[], recent=Recent(max_fixes=0), received_at_millis=0, row_types=_NOWHERE
    )
    return sealed.receipts()[0]
