"""Lists the jobs of upkeep with their intervals, slices and sentences, and counts what they do in a round."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from fleetwire.postgres import statements
from fleetwire.runtime import clock
from fleetwire.settings import Settings
from fleetwire.store.maintenance import ended_rows
from fleetwire.store.maintenance.compact_device import Merged
from fleetwire.store.maintenance.compaction import Compaction
from fleetwire.store.maintenance.fix_expiry import Expired, Expiry, agreed_millis
from fleetwire.store.maintenance.job import Job, Pace, Place
from fleetwire.store.maintenance.row_expiry import expire_audit, expire_events

_INGEST_SQL = statements.load("store/ingest")

DAYS_AHEAD: Final = 3
SLICE_SECS = 10.0  # of a round, for each job but merging
MERGE_SLICE_SECS = 30.0


@dataclass(slots=True)
class Round:
    """What one round did."""

    merged: Merged = field(default_factory=Merged)
    expired: Expired = field(default_factory=Expired)
    ended_sessions: int = 0
    ended_credentials: int = 0
    idle_order_devices: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            **asdict(self.merged),
            **{f"expired_{name}": value for name, value in asdict(self.expired).items()},
            "ended_sessions": self.ended_sessions,
            "ended_credentials": self.ended_credentials,
            "idle_order_devices": self.idle_order_devices,
            "seconds": round(self.seconds, 3),
        }


async def list_jobs(connection: asyncpg.Connection, settings: Settings, done: Round, *, quiet_secs: float) -> list[Job]:
    """The jobs of a round in their order; each adds to `done` what it did."""
    now_millis = clock.now_millis()
    earlier_millis = await agreed_millis(connection, now_millis=now_millis)

    async def make_partitions(_: Place, pace: Pace) -> bool:
        today = datetime.fromtimestamp(earlier_millis / 1000, UTC).date()
        days = [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)]
        await connection.execute(_INGEST_SQL["ensure_days"], days)
        await pace(0.0)
        return True

    async def end_sessions(_: Place, pace: Pace) -> bool:
        deleted = await ended_rows.delete_sessions(connection)
        done.ended_sessions += deleted
        await pace(0.0)
        return True

    async def end_credentials(_: Place, pace: Pace) -> bool:
        deleted, is_complete = await ended_rows.delete_credentials(connection, pace=pace)
        done.ended_credentials += deleted
        return is_complete

    async def end_orders(_: Place, pace: Pace) -> bool:
        days = settings.order_retention_days
        deleted, is_complete = await ended_rows.delete_order_devices(connection, days=days, pace=pace)
        done.idle_order_devices += deleted
        return is_complete

    async def settle_detached(_: Place, pace: Pace) -> bool:
        await Expiry(connection, retention_days=settings.retention_days, pace=pace).settle(now_millis=earlier_millis)
        await pace(0.0)
        return True

    async def expire_fixes(place: Place, pace: Pace) -> bool:
        expiry = Expiry(connection, retention_days=settings.retention_days, pace=pace)
        expired = await expiry.run(now_millis=earlier_millis, place=place)
        done.expired.partitions_dropped, done.expired.fixes = expired.partitions_dropped, expired.fixes
        return not place

    async def expire_old_events(place: Place, pace: Pace) -> bool:
        days = settings.event_retention_days
        done.expired.events = await expire_events(
            connection, retention_days=days, now_millis=earlier_millis, pace=pace, place=place
        )
        return not place

    async def expire_audit_log(place: Place, pace: Pace) -> bool:
        days = settings.audit_retention_days
        done.expired.audit_entries = await expire_audit(
            connection, retention_days=days, now_millis=earlier_millis, pace=pace, place=place
        )
        return not place

    async def merge(place: Place, pace: Pace) -> bool:
        compaction = Compaction(
            connection, merge_after_secs=settings.merge_after_secs, pace=pace, quiet_secs=quiet_secs
        )
        done.merged = await compaction.run(now_millis=now_millis, place=place)
        return "until" not in place

    kept = "what has expired is not deleted yet"
    return [
        Job("partitions", make_partitions, 0.0, SLICE_SECS, "days to come have no partition"),
        Job("sessions", end_sessions, 900.0, SLICE_SECS, "rows of ended logins pile up"),
        Job("credentials", end_credentials, 3600.0, SLICE_SECS, "rows of ended tokens pile up"),
        Job("orders", end_orders, 3600.0, SLICE_SECS, "orders that nobody ended stay on feeds"),
        Job("detached", settle_detached, 0.0, SLICE_SECS, "days whose removal was interrupted are not seen"),
        Job("fixes", expire_fixes, 900.0, SLICE_SECS, kept),
        Job("events", expire_old_events, 3600.0, SLICE_SECS, kept),
        Job("audit", expire_audit_log, 3600.0, SLICE_SECS, kept),
        Job("merging", merge, 0.0, MERGE_SLICE_SECS, "rows arrive faster than they are merged, and take up more space"),
    ]
