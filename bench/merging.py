"""Measures the rate at which upkeep merges fixes, and the bytes per fix afterwards: `python -m bench.merging`.

Writes a past day, or the first hours of the current one, as vehicles at 1 Hz send it, in rows of a given number of
fixes, with the rows of all devices interleaved. Then upkeep merges it: at full speed like the command, or with
`--rounds` like a server. The result is compared with the rate of 10,000 such vehicles. Fixes are counted before and
after; a difference is a failure.

    python -m bench.merging --devices 100 --hours 1 --rows-of 1,10,50
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec

import fleetwire
from fleetwire.postgres import migrate, statements
from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.runtime import logs
from fleetwire.settings import Settings
from fleetwire.store.maintenance.rounds import BUSY_PAUSE_SECS, Maintenance, run_once

NEEDED_PER_SEC = 10_000  # fixes per second of 10,000 vehicles at 1 Hz
PARTITIONS = 60  # of earlier days, which the statements must not scan
_DEVICE_SQL = statements.load("store/device")

# A walk over some kilometres with whole seconds, five decimals and all members that a phone measures.
_FILL = """
INSERT INTO track_segment (
    tenant_id, fix_count, device_id, first_at, last_at, received_at,
    offset_millis, lat_e7, lon_e7, altitude_dm, speed_cmps, heading_cdeg, accuracy_dm, battery_permille
)
SELECT
    $1, $4, ids.device_id, $2::timestamptz + s.second * interval '1 second',
    $2::timestamptz + (s.second + $4 - 1) * interval '1 second',
    $2::timestamptz + (s.second + $4) * interval '1 second',
    packed(array_agg(f.place * 1000 ORDER BY f.place)),
    packed(array_agg(((4815 + ids.device_id % 7) * 1000 + sin((s.second + f.place) / 300.0) * 4000
        + hashint8(s.second + f.place) % 3)::int * 100 ORDER BY f.place)),
    packed(array_agg(((1157 + ids.device_id % 5) * 1000 + cos((s.second + f.place) / 400.0) * 4000
        + hashint8(s.second + f.place + 9) % 3)::int * 100 ORDER BY f.place)),
    packed(array_agg((5190 + (s.second + f.place) / 20 % 40)::int ORDER BY f.place)),
    array_agg((1300 + hashint8((s.second + f.place) / 3) % 100)::int2 ORDER BY f.place),
    array_agg((((s.second + f.place) * 10) % 18000)::int2 ORDER BY f.place),
    array_agg(50::int2 ORDER BY f.place),
    array_agg((900 - (s.second + f.place) / 600)::int2 ORDER BY f.place)
FROM generate_series(0, $3::int - $4, $4) AS s (second)
CROSS JOIN unnest($5::bigint[]) AS ids (device_id)
CROSS JOIN generate_series(0, $4 - 1) AS f (place)
GROUP BY s.second, ids.device_id
ORDER BY s.second, ids.device_id
"""
_BYTES = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relname ~ '^track_(segment|merged)_d'
"""


@dataclass(frozen=True)
class MergeResult:
    """Result of one measurement."""

    rows_of: int
    is_open_day: bool
    fixes: int
    seconds: float
    fixes_per_sec: float
    share_of_10000_vehicles: float
    bytes_per_fix_before: float
    bytes_per_fix: float


async def measure(
    dsn: str, *, devices: int, hours: int, rows_of: int, is_open_day: bool, in_rounds: bool
) -> MergeResult:
    """Fills one day and merges it.

    Raises:
        RuntimeError: the number of fixes changed.
    """
    connection = await asyncpg.connect(dsn)
    try:
        name = f"bench-{time.time_ns()}"
        tenant_id = await connection.fetchval("INSERT INTO tenant (name) VALUES ($1) RETURNING tenant_id", name)
        names = [f"vehicle-{number}" for number in range(devices)]
        found = await connection.fetch(_DEVICE_SQL["create_devices"], tenant_id, names)
        now = datetime.now(UTC)
        start = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=0 if is_open_day else 3)
        for back in range(PARTITIONS):
            await connection.execute("SELECT ensure_partition($1)", start.date() - timedelta(days=back))
        await connection.execute("TRUNCATE track_segment, track_merged")
        ids = [row["device_id"] for row in found]
        await connection.execute(_FILL, tenant_id, start, hours * 3600, rows_of, ids, timeout=3600)
        count = "SELECT (SELECT sum(fix_count) FROM track_segment), (SELECT sum(fix_count) FROM track_merged)"
        fixes = sum(each or 0 for each in await connection.fetchrow(count))
        bytes_before = await connection.fetchval(_BYTES)
        started = time.perf_counter()
        if in_rounds:
            await _server_rounds(dsn, connection)
        else:
            await run_once(dsn, Settings(merge_after_secs=0))
        seconds = time.perf_counter() - started
        await connection.execute("VACUUM track_segment, track_merged")
        after = sum(each or 0 for each in await connection.fetchrow(count))
        if after != fixes:
            raise RuntimeError(f"Merging made {after} fixes of {fixes}.")
        size = await connection.fetchval(_BYTES)
    finally:
        await connection.close()
    rate = fixes / seconds
    return MergeResult(
        rows_of, is_open_day, fixes, round(seconds, 2), round(rate), round(rate / NEEDED_PER_SEC, 2),
        round(bytes_before / fixes, 1), round(size / fixes, 1),
    )  # fmt: skip


async def _server_rounds(dsn: str, connection: asyncpg.Connection) -> None:
    """Merges like a server beside ingest: in rounds with pauses."""
    rounds = Maintenance(dsn, Settings(merge_after_secs=0))
    while await connection.fetchval("SELECT EXISTS (SELECT FROM track_segment)"):
        await rounds.run_round()
        await asyncio.sleep(BUSY_PAUSE_SECS)


async def _run(dsn: str, given: argparse.Namespace) -> None:
    await migrate.migrate(dsn)
    for rows_of in map(int, given.rows_of.split(",")):
        found = await measure(
            dsn,
            devices=given.devices,
            hours=given.hours,
            rows_of=rows_of,
            is_open_day=given.open_day,
            in_rounds=given.rounds,
        )
        print(msgspec.json.encode(found).decode(), flush=True)


def main() -> None:
    """Measures and prints one line of JSON for each size of rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.merging", description="Merging at full speed.")
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--hours", type=int, default=1, help="hours of fixes at 1 Hz, from midnight UTC")
    parser.add_argument("--rows-of", default="1,10,50", help="fixes per stored row, comma-separated")
    parser.add_argument(
        "--open-day", action="store_true", help="use the current day, of which as many hours must have passed"
    )
    parser.add_argument("--rounds", action="store_true", help="as a server does it, with rests; not of an open day")
    given = parser.parse_args()
    logs.configure(level="error", form="console")
    if fleetwire.build_profile != "release":
        sys.exit("The core is a debug build; build it with `make build`.")
    with (
        tempfile.TemporaryDirectory(prefix="fleetwire-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "data") as postgres,
    ):
        asyncio.run(_run(postgres.dsn, given))


if __name__ == "__main__":
    main()
