"""Measures the age of the oldest snapshot, which keeps PostgreSQL from removing row versions that nobody sees.

A `pg_dump`, a report in one transaction, a transaction that was prepared and left, a replica with hot_standby_feedback:
beside each of them every move of a live position leaves a version that stays until it ends.
"""

from dataclasses import dataclass

import asyncpg
import structlog

from fleetwire.postgres import statements
from fleetwire.runtime import clock
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("store/maintenance/snapshot")

_NOT_SEEN = (
    "Old snapshots of other users' sessions cannot be seen: grant pg_read_all_stats to the role of the database URL."
)


@dataclass(frozen=True, slots=True)
class SnapshotHolder:
    """A session, prepared transaction or replication slot with its snapshot's age."""

    kind: str
    name: str
    age_secs: float

    def sentence(self) -> str:
        """What the operator should know; application names and those of transactions are for the log alone."""
        who = f"The session with process id {self.name}" if self.kind == "session" else f"A {self.kind}"
        return (
            f"{who} has held an old snapshot for {self.age_secs / 60:.0f} min: replaced versions of rows since then "
            "cannot be removed, and the tables grow until it ends."
        )


class SnapshotWatch:
    """Remembers since when a holder has had the same snapshot, where the server does not say so."""

    def __init__(self, *, old_secs: float) -> None:
        self._old_secs = old_secs
        self._first_seen: dict[tuple[str, str, str], float] = {}
        self._warnings: list[str] = []

    async def measure(self, connection: asyncpg.Connection) -> None:
        """Reads the holders, sets the metric and the sentences."""
        now_secs = clock.monotonic_secs()
        first_seen: dict[tuple[str, str, str], float] = {}
        holders = []
        for kind, name, xmin, held_secs, application in await connection.fetch(_SQL["old_snapshots"]):
            key = (kind, name, xmin)
            first_seen[key] = self._first_seen.get(key, now_secs)
            age_secs = max(0.0, now_secs - first_seen[key] if held_secs is None else held_secs)
            holders.append(SnapshotHolder(kind, name, age_secs))
            if age_secs > self._old_secs:
                _log.warning("An old snapshot is held.", kind=kind, name=name, application=application)
        self._first_seen = first_seen
        oldest = max(holders, key=lambda each: each.age_secs, default=None)
        metrics.OLDEST_SNAPSHOT.set(0.0 if oldest is None else oldest.age_secs)
        self._warnings = [] if oldest is None or oldest.age_secs <= self._old_secs else [oldest.sentence()]
        if not await connection.fetchval(_SQL["sees_sessions"]):
            self._warnings.append(_NOT_SEEN)

    def warnings(self) -> list[str]:
        """Sentences for `/health`."""
        return self._warnings
