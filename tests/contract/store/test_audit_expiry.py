"""Retention of the audit log goes in bounded steps, and stops where it is told to."""

from datetime import UTC, datetime

from fleetwire.store.maintenance import row_expiry
from fleetwire.store.maintenance.row_expiry import expire_audit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MILLIS = int(NOW.timestamp() * 1000)


async def test_few_rows_at_a_time_until_the_pace_says_stop(owner, acme, monkeypatch):
    monkeypatch.setattr(row_expiry, "ROWS_AT_ONCE", 3)
    for days in range(10):
        await owner.execute(
            "INSERT INTO audit_log (tenant_id, noted_at, actor, action, subject) "
            "VALUES ($1, $2::timestamptz - $3::int * interval '1 day', 'eva', 'user.create', $3::text)",
            acme.tenant_id,
            NOW,
            9 - days,
        )

    async def left():
        return await owner.fetchval("SELECT count(*) FROM audit_log WHERE tenant_id = $1", acme.tenant_id)

    steps = []

    async def twice(spent_secs):
        steps.append(await left())
        assert spent_secs >= 0
        return len(steps) < 2

    assert await expire_audit(owner, retention_days=1, now_millis=NOW_MILLIS, pace=twice) == 6
    assert steps == [7, 4]

    async def on(_):
        return True

    assert await expire_audit(owner, retention_days=1, now_millis=NOW_MILLIS, pace=on) == 2
    assert await left() == 2  # Of a day ago to the moment, and of now.
