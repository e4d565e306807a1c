"""Group commit: whatever arrived while the connection was busy is stored in the next transaction.

    write() -> intake (bounded) -> the committer or a helper -> lock, check late, COPY, move live, commit -> receipts

A receipt leaves only after its commit. The committer takes a group the moment it is free: there is no delay to tune, a
loaded server makes large groups by itself. Rows are locked in key order, so groups of several workers cannot deadlock
with each other; what still fails for a passing reason is tried again as a whole, which is safe because storing is
idempotent.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from fleetwire import clock, metrics
from fleetwire._core import Batch, Group, Sealed
from fleetwire.errors import DatabaseAway, Overloaded
from fleetwire.settings import Settings
from fleetwire.store import statements
from fleetwire.store.faults import PASSING
from fleetwire.store.lane import Lane
from fleetwire.store.partitions import Partitions
from fleetwire.tasks import spawn

_log = structlog.get_logger(__name__)
_SQL = statements.load("ingest")

FIRST_PAUSE_SECS = 0.05  # between two tries of a group; doubles
LONGEST_PAUSE_SECS = 1.0
HELP_AFTER_SECS = 0.2  # several times what a group takes under full load
SHORT_INTAKE_BATCHES = 32  # so many may always wait: a rate that was measured on fewer says little


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A batch in the intake, and who waits for its receipt."""

    tenant_id: int
    device_id: int
    batch: Batch
    receipt: asyncio.Future[bytes]
    arrived_secs: float


class Writer:
    """Stores batches exactly once. `on_stored` is told of each group after its commit; it must not fail."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        partitions: Partitions,
        settings: Settings,
        on_stored: Callable[[Sealed], object],
    ) -> None:
        """`pool` has a connection for each committer."""
        self._pool = pool
        self._settings = settings
        self._on_stored = on_stored
        self._partitions = partitions
        self._intake: deque[_Waiting] = deque()
        self._intake_fixes = 0
        self._storable_batches = math.inf  # within `intake_secs`, as far as the store is known to be behind
        self._held: set[_Waiting] = set()  # in the intake or in a commit, and somebody waits for the receipt
        self._arrived = asyncio.Event()
        self._committers: list[asyncio.Task[None]] = []
        self._busy_since_secs = math.inf  # when the committer took the group it is at
        self._closed = False

    async def start(self) -> None:
        """Makes today's partitions and starts the committers."""
        await self._partitions.ahead()
        helpers = [self._help_while_open() for _ in range(self._settings.writer_connections - 1)]
        self._committers = [
            spawn(work, name=f"committer-{number}") for number, work in enumerate([self._commit_while_open(), *helpers])
        ]

    async def stop(self, *, within_secs: float) -> None:
        """Refuses new batches and returns when every held one is answered; those that take longer get 503."""
        self._closed = True
        self._arrived.set()
        if self._committers:
            await asyncio.wait(self._committers, timeout=within_secs)
        _refuse(self._held, _stopping())

    async def write(self, tenant_id: int, device_id: int, batch: Batch) -> bytes:
        """Stores a batch and returns its receipt as JSON. Cancelling does not take the batch back.

        Raises:
            Overloaded: the intake is full or the server stops; nothing was acknowledged.
            DatabaseAway: it stayed away; nothing was acknowledged.
        """
        if not batch.accepted:
            return refused(batch)
        self._admit(batch)
        receipt = asyncio.get_running_loop().create_future()
        waiting = _Waiting(tenant_id, device_id, batch, receipt, clock.monotonic_secs())
        self._intake.append(waiting)
        self._intake_fixes += batch.accepted
        self._held.add(waiting)
        self._arrived.set()
        try:
            return await waiting.receipt
        finally:
            self._held.discard(waiting)

    @property
    def held_batches(self) -> int:
        """Batches that wait for a commit."""
        return len(self._intake)

    def _admit(self, batch: Batch) -> None:
        if self._closed:
            raise _stopping()
        settings = self._settings
        full = len(self._intake) >= min(settings.intake_batches, self._storable_batches)
        if full or self._intake_fixes + batch.accepted > settings.intake_fixes:
            metrics.INTAKE_REFUSED.inc()
            raise Overloaded("intake_full", "More arrives than can be stored; send it again.", retry_after_secs=1)

    def _estimate(self, group: Sequence[_Waiting], *, began_secs: float) -> None:
        """Bounds the intake by time: what would wait too long is better refused at once, while its sender listens.

        Only a store that is behind is measured. One that keeps up makes small groups, which say nothing of its rate.
        """
        intake_secs = self._settings.intake_secs
        self._storable_batches = math.inf
        if began_secs - group[0].arrived_secs > intake_secs / 2:
            group_secs = max(1e-3, clock.monotonic_secs() - began_secs)
            self._storable_batches = max(SHORT_INTAKE_BATCHES, len(group) / group_secs * intake_secs)

    async def _commit_while_open(self) -> None:
        lane = Lane(self._pool)
        while self._intake or not self._closed:
            group = await self._next_group()
            self._busy_since_secs = clock.monotonic_secs()
            await self._answer(group, lane)
            self._busy_since_secs = math.inf
        await lane.give_back()

    async def _help_while_open(self) -> None:
        """Commits while the committer is held up: by a lock on one device, or by history it has to read.

        Two that took turns would make groups of half the size, and most of a small group's cost does not depend on it.
        """
        lane = Lane(self._pool)
        while self._intake or not self._closed:
            if clock.monotonic_secs() - self._busy_since_secs > HELP_AFTER_SECS:
                await self._answer(await self._next_group(), lane)
            else:
                await asyncio.sleep(HELP_AFTER_SECS)
        await lane.give_back()

    async def _next_group(self) -> list[_Waiting]:
        """Waits for batches; an empty group if another took them, or the writer is closed."""
        await self._arrived.wait()
        group = self._take()
        if not group and not self._closed:
            self._arrived.clear()
        return group

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        fixes = 0
        while self._intake and (not group or fixes + self._intake[0].batch.accepted <= self._settings.group_fixes):
            waiting = self._intake.popleft()
            fixes += waiting.batch.accepted
            group.append(waiting)
        self._intake_fixes -= fixes
        return group

    async def _answer(self, waiting: Sequence[_Waiting], lane: Lane, *, parted: bool = False) -> None:
        """Commits a group and gives each sender its receipt, or all of them the same refusal.

        A group that fails for a reason of its own is halved and tried again, so that one batch that cannot be stored
        does not take the others with it. `parted`: what is locked by others was told apart already.
        """
        if not waiting:
            return
        began_secs = clock.monotonic_secs()
        group = Group([(each.tenant_id, each.device_id, each.batch) for each in waiting])
        try:
            sealed = await self._commit_with_patience(group, lane, parted=parted)
        except asyncpg.LockNotAvailableError:
            free = await self._free_devices(waiting, lane)
            for is_free in (True, False):
                part = [each for each in waiting if ((each.tenant_id, each.device_id) in free) is is_free]
                await self._answer(part, lane, parted=True)
            return
        except Overloaded as refusal:
            _refuse(waiting, refusal)
            return
        except Exception:  # noqa: BLE001 - whatever it is, it must not leave the senders waiting
            if len(waiting) > 1:
                middle = len(waiting) // 2
                await self._answer(waiting[:middle], lane)
                await self._answer(waiting[middle:], lane)
                return
            _log.exception("A batch could not be stored.", device_id=waiting[0].device_id)
            _refuse(
                waiting, Overloaded("store_failed", "The batch is not acknowledged; send it again.", retry_after_secs=5)
            )
            return
        self._estimate(waiting, began_secs=began_secs)
        for each, receipt in zip(waiting, sealed.receipts(), strict=True):
            if not each.receipt.done():
                each.receipt.set_result(receipt)
        self._tell(sealed)

    async def _free_devices(self, waiting: Sequence[_Waiting], lane: Lane) -> set[tuple[int, int]]:
        """Those that nobody keeps locked: they need not wait with the others. None if the database does not say."""
        devices: dict[int, list[int]] = {}
        for each in waiting:
            devices.setdefault(each.tenant_id, []).append(each.device_id)
        free: set[tuple[int, int]] = set()
        try:
            async with lane.transaction(limit_secs=self._settings.patience_secs) as connection:
                for tenant_id, device_ids in devices.items():
                    rows = await connection.fetch(_SQL["free_devices"], tenant_id, device_ids)
                    free.update((tenant_id, row["device_id"]) for row in rows)
        except PASSING as error:
            _log.warning("Which devices are locked could not be found out.", error=repr(error))
        return free

    async def _commit_with_patience(self, group: Group, lane: Lane, *, parted: bool) -> Sealed:
        """Tries until patience ends.

        Raises:
            DatabaseAway: it did.
            LockNotAvailableError: others keep devices locked, and the group is not parted yet.
        """
        deadline = clock.monotonic_secs() + self._settings.patience_secs
        pause_secs = FIRST_PAUSE_SECS
        while True:
            try:
                return await self._commit(group, lane, limit_secs=max(0.1, deadline - clock.monotonic_secs()))
            except asyncpg.CheckViolationError:
                # COPY found no partition: retention dropped it after it was made.
                self._partitions.forget()
            except PASSING as error:
                if isinstance(error, asyncpg.LockNotAvailableError) and not parted:
                    raise
                _log.warning("A group is tried again.", error=repr(error))
            metrics.COMMIT_RETRIES.inc()
            if clock.monotonic_secs() + pause_secs >= deadline:
                raise DatabaseAway
            await asyncio.sleep(pause_secs)
            pause_secs = min(pause_secs * 2, LONGEST_PAUSE_SECS)

    async def _commit(self, group: Group, lane: Lane, *, limit_secs: float) -> Sealed:
        started, received_at_millis = clock.monotonic_secs(), clock.now_millis()
        await self._partitions.ensure(group.days())
        async with lane.transaction(limit_secs=limit_secs) as connection:
            last_fixed_millis = await connection.fetchval(_SQL["lock_group"], *group.devices()) or []
            spans = group.late_spans(last_fixed_millis)
            late = await connection.fetch(_SQL["late_segments"], *zip(*spans, strict=True)) if spans else []
            sealed = group.seal(
                last_fixed_millis=last_fixed_millis,
                stored=[tuple(row) for row in late],
                received_at_millis=received_at_millis,
            )
            if sealed.segments:
                # A memoryview, because asyncpg takes bytes for the name of a file.
                await connection.copy_to_table(
                    "track_segment",
                    source=memoryview(sealed.copy),
                    columns=statements.TRACK_SEGMENT_COLUMNS,
                    format="binary",
                )
                columns, moved = sealed.live
                if moved:
                    await connection.execute(_SQL["move_live"], *columns, received_at_millis, group.tenants())
        metrics.COMMIT_SECONDS.observe(clock.monotonic_secs() - started)
        return sealed

    def _tell(self, sealed: Sealed) -> None:
        metrics.FIXES_STORED.inc(sealed.stored)
        metrics.FIXES_DUPLICATE.inc(sealed.duplicate)
        try:
            self._on_stored(sealed)
        except Exception:  # noqa: BLE001
            # After the commit nothing may fail the sender: watchers miss a movement, the store does not.
            metrics.AFTER_COMMIT_FAILURES.inc()
            _log.exception("Telling watchers of a stored group failed.")


def _stopping() -> Overloaded:
    return Overloaded("stopping", "The server is stopping; send the batch again.", retry_after_secs=2)


def _refuse(waiting: Iterable[_Waiting], refusal: Overloaded) -> None:
    for each in waiting:
        if not each.receipt.done():
            each.receipt.set_exception(refusal)


def refused(batch: Batch) -> bytes:
    """The receipt of a batch of which nothing was accepted: no transaction is needed for it."""
    sealed = Group([(0, 0, batch)]).seal(last_fixed_millis=[None], stored=[], received_at_millis=0)
    return sealed.receipts()[0]
