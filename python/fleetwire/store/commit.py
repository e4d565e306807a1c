"""The transaction of a group: lock its devices, append what is new of it, move live positions.

    all of it newer than what this worker knows of its devices -> one statement, which looks whether that is still so
    the same batch again, as its last commit of a device was   -> known, as above
    some of it is late, or another worker knew better          -> lock, find out what is stored, append the rest

What fails for a passing reason is tried again as a whole, which is safe because storing is idempotent.
"""

import asyncio
from collections.abc import Callable, Iterable

import asyncpg
import structlog

from fleetwire import clock, metrics
from fleetwire._core import Group, Recent, RowTypes, Sealed
from fleetwire.errors import DatabaseAway
from fleetwire.runtime.retry import Backoff
from fleetwire.store import statements
from fleetwire.store.faults import PASSING
from fleetwire.store.lane import Lane
from fleetwire.store.partitions import Partitions

_log = structlog.get_logger(__name__)
_SQL = statements.load("ingest")

KnownMillis = Callable[[Group], list[int | None]]
"""Times of the newest fixes of a group's devices, as far as somebody knows them: a shortcut, which is checked."""

FIRST_PAUSE_SECS = 0.05  # between two tries of a group; doubles
LONGEST_PAUSE_SECS = 1.0


class GroupCommit:
    """Commits groups on one connection, one after the other."""

    def __init__(
        self, lane: Lane, partitions: Partitions, *, known_millis: KnownMillis, recent: Recent, patience_secs: float
    ) -> None:
        """`recent` is shared by all who commit in this process."""
        self._lane = lane
        self._partitions = partitions
        self._known_millis = known_millis
        self._recent = recent
        self._patience_secs = patience_secs

    async def commit(self, group: Group, *, waits_for_locks: bool, on_doubt: Callable[[], object]) -> Sealed:
        """Tries until patience ends. `on_doubt` is called after a try of which nobody knows whether it was committed.

        Raises:
            DatabaseAway: it did.
            LockNotAvailableError: others keep devices locked, and `waits_for_locks` is not set.
        """
        deadline = clock.monotonic_secs() + self._patience_secs
        backoff: Backoff | None = None
        while True:
            try:
                return await self._commit_once(group, limit_secs=max(0.1, deadline - clock.monotonic_secs()))
            except asyncpg.CheckViolationError as error:
                # There is no partition for it: retention dropped it after it was made.
                cause: Exception = error
                self._partitions.forget()
            except PASSING as error:
                cause = error
                if isinstance(error, asyncpg.LockNotAvailableError) and not waits_for_locks:
                    raise
                on_doubt()
                _log.warning("A group is tried again.", error=repr(error))
            metrics.COMMIT_RETRIES.inc()
            backoff = backoff or Backoff(first_secs=FIRST_PAUSE_SECS, max_secs=LONGEST_PAUSE_SECS)
            pause_secs = backoff.next_secs()
            if clock.monotonic_secs() + pause_secs >= deadline:
                raise DatabaseAway from cause
            await asyncio.sleep(pause_secs)

    async def free_devices(self, devices: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """Returns those (tenant, device) that nobody keeps locked; an empty set if the query fails."""
        by_tenant: dict[int, list[int]] = {}
        for tenant_id, device_id in devices:
            by_tenant.setdefault(tenant_id, []).append(device_id)
        free: set[tuple[int, int]] = set()
        try:
            async with (
                self._lane.connection(limit_secs=self._patience_secs) as (connection, _),
                connection.transaction(),
            ):
                for tenant_id, device_ids in by_tenant.items():
                    rows = await connection.fetch(_SQL["free_devices"], tenant_id, device_ids)
                    free.update((tenant_id, row["device_id"]) for row in rows)
        except Exception as error:  # noqa: BLE001 - without an answer all devices count as locked, which is safe
            _log.warning("Which devices are locked could not be found out.", error=repr(error))
            return set()
        return free

    async def _commit_once(self, group: Group, *, limit_secs: float) -> Sealed:
        """Stores the group in one statement if nothing of it is late, as far as this worker knows, and it is right."""
        started, now_millis = clock.monotonic_secs(), clock.now_millis()
        await self._partitions.ensure(group.days())
        async with self._lane.connection(limit_secs=limit_secs) as (connection, row_types):
            sealed = None
            known_millis = self._known_millis(group)
            if not group.late_spans(known_millis, self._recent):
                fresh = self._seal(group, known_millis, [], now_millis, row_types)
                sealed = fresh if await _store(connection, group, fresh) else None
            if sealed is None:
                metrics.COMMITS_IN_STEPS.inc()
                sealed = await self._commit_in_steps(connection, group, now_millis, row_types)
        self._recent.remember(group)
        metrics.COMMIT_SECONDS.observe(clock.monotonic_secs() - started)
        return sealed

    async def _commit_in_steps(
        self, connection: asyncpg.Connection, group: Group, now_millis: int, row_types: RowTypes
    ) -> Sealed:
        """Keeps the devices locked while it looks up what is stored of the group."""
        async with connection.transaction():
            last_fixed_millis = await connection.fetchval(_SQL["lock_group"], *group.devices()) or []
            spans = group.late_spans(last_fixed_millis, self._recent)
            late = await connection.fetch(_SQL["late_segments"], *zip(*spans, strict=True)) if spans else []
            sealed = self._seal(group, last_fixed_millis, late, now_millis, row_types)
            if not await _store(connection, group, sealed):
                raise RuntimeError("The watermarks of locked devices changed.")
        return sealed

    def _seal(
        self,
        group: Group,
        last_fixed_millis: list[int | None],
        late: Iterable[asyncpg.Record],
        now_millis: int,
        row_types: RowTypes,
    ) -> Sealed:
        return group.seal(
            last_fixed_millis=last_fixed_millis,
            stored=[tuple(row) for row in late],
            recent=self._recent,
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
