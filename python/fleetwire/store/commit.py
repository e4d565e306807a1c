"""The transaction of a group: lock its devices, append what is new of it, move live positions.

    all of it newer than what this worker knows of its devices -> one statement, which looks whether that is still so
    the same batch again, as its last commit of a device was   -> known, as above
    some of it is late, or another worker knew better          -> lock, find out what is stored, append the rest

What fails for a passing reason is tried again as a whole, which is safe because storing is idempotent. What a group may
do under its locks is bounded: one that has no partition yet for some day, that would look up many days of history, or
that the server stopped for the time it took, is handed back as `Divisible`, for its parts to be committed apart.
"""

import asyncio
from collections.abc import Callable, Iterable

import asyncpg
import structlog

from fleetwire._core import Group, Recent, RowTypes, Sealed
from fleetwire.errors import DatabaseAway, Overloaded
from fleetwire.postgres import statements
from fleetwire.postgres.incarnation import Incarnation
from fleetwire.postgres.pinned_connection import PinnedConnection
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime import clock
from fleetwire.runtime.retry import Backoff
from fleetwire.store.group_bounds import Divisible, TooSlow, WithoutPartition, out_of_bounds
from fleetwire.store.partitions import Partitions
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("store/ingest")

KnownMillis = Callable[[Group], list[int | None]]
"""Times of the newest fixes of a group's devices, as far as somebody knows them: a shortcut, which is checked."""

FIRST_PAUSE_SECS = 0.05  # between two tries of a group; doubles
LONGEST_PAUSE_SECS = 1.0


class GroupCommit:
    """Commits groups on one connection, one after the other."""

    def __init__(
        self,
        lane: PinnedConnection,
        partitions: Partitions,
        *,
        known_millis: KnownMillis,
        recent: Recent,
        incarnation: Incarnation,
        is_bounded: bool = True,
    ) -> None:
        """Prepares commits.

        Args:
            lane: the connection.
            partitions: knows the days that have one.
            known_millis: what is known of the devices.
            recent: shared by all who commit in this process.
            incarnation: knows whether the database is still the one whose numbers a group has.
            is_bounded: whether a group is `FarBack` that would look up much history. Others wait for one that is not
                bounded no longer than for one that is, as its caller sees to it that its batches are small.
        """
        self._lane = lane
        self._partitions = partitions
        self._known_millis = known_millis
        self._recent = recent
        self._is_bounded = is_bounded
        self._incarnation = incarnation

    async def commit(
        self,
        group: Group,
        *,
        generation: int,
        give_up_at_secs: float,
        waits_for_locks: bool,
        on_doubt: Callable[[], object],
        statement_secs: float | None = None,
    ) -> Sealed:
        """Tries until `give_up_at_secs`; calls `on_doubt` after a try of which nobody knows whether it was committed.

        `statement_secs` replaces the time that the server lets a statement run; the group is then committed in steps.

        Raises:
            DatabaseAway: it is that late.
            Overloaded: the numbers are those of a database (`generation`) that was replaced.
            Divisible: nothing was stored, and parts of the group can be.
            LockNotAvailableError: others keep devices locked, and `waits_for_locks` is not set.
        """
        backoff: Backoff | None = None
        cause: Exception | None = None
        while (left_secs := give_up_at_secs - clock.monotonic_secs()) > 0:
            try:
                limit_secs = max(0.1, left_secs)
                return await self._commit_once(group, generation, limit_secs=limit_secs, statement_secs=statement_secs)
            except asyncpg.CheckViolationError as error:
                # Without a constraint's name: a row found no partition, because retention detached it meanwhile.
                if error.constraint_name is not None:
                    raise
                cause = error
                await self._learn_partitions()
            except asyncpg.QueryCanceledError as error:
                metrics.COMMIT_TIMEOUTS.inc()
                raise TooSlow from error
            except TRANSIENT as error:
                cause = error
                if isinstance(error, asyncpg.LockNotAvailableError) and not waits_for_locks:
                    raise
                on_doubt()
                _log.warning("A group is tried again.", error=repr(error))
            metrics.COMMIT_RETRIES.inc()
            backoff = backoff or Backoff(first_secs=FIRST_PAUSE_SECS, max_secs=LONGEST_PAUSE_SECS)
            pause_secs = backoff.next_secs()
            if clock.monotonic_secs() + pause_secs >= give_up_at_secs:
                break
            await asyncio.sleep(pause_secs)
        raise DatabaseAway from cause

    async def free_devices(self, devices: Iterable[tuple[int, int]], *, limit_secs: float) -> set[tuple[int, int]]:
        """Returns those (tenant, device) that nobody keeps locked; an empty set if the query fails."""
        by_tenant: dict[int, list[int]] = {}
        for tenant_id, device_id in devices:
            by_tenant.setdefault(tenant_id, []).append(device_id)
        free: set[tuple[int, int]] = set()
        try:
            async with (
                self._lane.connection(limit_secs=limit_secs) as (connection, _),
                connection.transaction(),
            ):
                for tenant_id, device_ids in by_tenant.items():
                    rows = await connection.fetch(_SQL["free_devices"], tenant_id, device_ids)
                    free.update((tenant_id, row["device_id"]) for row in rows)
        except Exception as error:  # noqa: BLE001 - without an answer all devices count as locked, which is safe
            _log.warning("Which devices are locked could not be found out.", error=repr(error))
            return set()
        return free

    async def _commit_once(
        self, group: Group, generation: int, *, limit_secs: float, statement_secs: float | None
    ) -> Sealed:
        """Stores the group in one statement if nothing of it is late, as far as this worker knows, and it is right."""
        started, now_millis = clock.monotonic_secs(), clock.now_millis()
        if missing := self._partitions.missing(group.days()):
            raise WithoutPartition(missing)
        async with self._lane.connection(limit_secs=limit_secs) as (connection, row_types):
            await self._check_generation(generation, limit_secs)
            known_millis = self._known_millis(group)
            late_spans = group.late_spans(known_millis, self._recent)
            sealed: Sealed | Divisible | None = out_of_bounds(late_spans) if self._is_bounded else None
            # Nothing is awaited between the two looks at `recent`, which may forget at any time.
            if not late_spans and statement_secs is None:
                fresh = _seal(group, known_millis, [], self._recent, now_millis=now_millis, row_types=row_types)
                if fresh.segment_count:
                    is_stored = await _store(connection, group, fresh)
                else:
                    # Known from memory alone: the rows must be those of the database of now.
                    await self._incarnation.check(connection)
                    await self._check_generation(generation, limit_secs)
                    is_stored = not group.late_spans(self._known_millis(group), self._recent)
                sealed = fresh if is_stored else None
            if sealed is None:
                metrics.COMMITS_IN_STEPS.inc()
                sealed = await self._commit_in_steps(connection, group, now_millis, row_types, statement_secs)
        if isinstance(sealed, Divisible):
            raise sealed
        self._recent.remember(group)
        metrics.COMMIT_SECONDS.observe(clock.monotonic_secs() - started)
        return sealed

    async def _learn_partitions(self) -> None:
        try:
            await self._partitions.learn()
        except TRANSIENT as error:
            _log.warning("Which partitions there are could not be found out.", error=repr(error))

    async def _check_generation(self, generation: int, limit_secs: float) -> None:
        """Lets groups pass whose numbers are of the database of now; waits while that is being found out."""
        if not self._incarnation.is_settled:
            await self._incarnation.settled(timeout_secs=limit_secs)
        if generation != self._incarnation.generation:
            detail = "The database was replaced; the batch is not acknowledged, send it again."
            raise Overloaded("store_failed", detail, retry_after_secs=1)

    async def _commit_in_steps(
        self,
        connection: asyncpg.Connection,
        group: Group,
        now_millis: int,
        row_types: RowTypes,
        statement_secs: float | None,
    ) -> Sealed | Divisible:
        """Keeps the devices locked while it looks up what is stored of the group.

        What it cannot commit it returns, instead of raising it: the connection is as good as before.
        """
        async with connection.transaction():
            if statement_secs is not None:
                await connection.execute(_SQL["limit_statements"], str(max(1, round(statement_secs * 1000))))
            last_fixed_millis = await connection.fetchval(_SQL["lock_group"], *group.devices()) or []
            # Of what is not looked up, nothing may be forgotten until the group is sealed.
            recent = self._recent.only(group)
            spans = group.late_spans(last_fixed_millis, recent)
            if self._is_bounded and (divisible := out_of_bounds(spans)):
                return divisible
            late = await connection.fetch(_SQL["late_rows"], *zip(*spans, strict=True)) if spans else []
            sealed = _seal(group, last_fixed_millis, late, recent, now_millis=now_millis, row_types=row_types)
            if not await _store(connection, group, sealed):
                raise RuntimeError("The watermarks of locked devices changed.")
        return sealed


def _seal(
    group: Group,
    last_fixed_millis: list[int | None],
    late: Iterable[asyncpg.Record],
    recent: Recent,
    *,
    now_millis: int,
    row_types: RowTypes,
) -> Sealed:
    return group.seal(
        last_fixed_millis=last_fixed_millis,
        stored=[tuple(row) for row in late],
        recent=recent,
        received_at_millis=now_millis,
        row_types=row_types,
    )


async def _store(connection: asyncpg.Connection, group: Group, sealed: Sealed) -> bool:
    """False: the group was sealed by other watermarks than the devices have, and nothing was stored."""
    if not sealed.segment_count:
        return True
    answer = await connection.fetchval(
        _SQL["store_group"], *group.devices(), sealed.newest, sealed.segments, sealed.positions
    )
    return answer is None
