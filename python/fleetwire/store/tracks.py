"""A device's history, streamed: pages of segments from the store, text from the core.

Each page is a transaction of its own, so that a client that reads slowly holds no connection.
"""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from fleetwire._core import TrackWriter
from fleetwire.errors import DatabaseAway, Problem
from fleetwire.postgres import statements
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.transient_errors import TRANSIENT

_SQL = statements.load("store/track")
_DEVICE_SQL = statements.load("store/device")
PAGE_FIXES = 25_000  # 1 MB from the database
PAGE_SEGMENTS = 500
FIRST_PAGE_SEGMENTS = 1  # quick to the first byte, also where a segment is an hour

MEDIA_TYPES: Final = {
    "geojson": "application/geo+json",
    "gpx": "application/gpx+xml",
    "csv": "text/csv",
    "csv-spreadsheet": "text/csv",
}


async def find_device(pool: asyncpg.Pool, tenant_id: int, name: str) -> int:
    """The number of a device.

    Raises:
        Problem: 404 `device_unknown`.
        DatabaseAway: it does not answer.
    """
    if "\0" in name:
        raise unknown(name)  # PostgreSQL takes no text with it.
    try:
        async with tenant_transaction(pool, tenant_id) as connection:
            device_id: int | None = await connection.fetchval(_DEVICE_SQL["find_devices"], tenant_id, [name])
    except TRANSIENT:
        raise DatabaseAway from None
    if device_id is None:
        raise unknown(name)
    return device_id


def unknown(name: str) -> Problem:
    """The answer to who asks for a device that the tenant does not have, or that is not theirs to see."""
    return Problem("device_unknown", f"There is no device {name!r}.", status=404)


async def state(pool: asyncpg.Pool, *, tenant_id: int, device_id: int, from_millis: int, to_millis: int) -> str:
    """Names the state of a span of a track; a late fix gives it another name. Cheaper than the track by far.

    Raises:
        DatabaseAway: it does not answer.
    """
    try:
        async with tenant_transaction(pool, tenant_id) as connection:
            row = await connection.fetchrow(_SQL["track_state"], tenant_id, device_id, from_millis, to_millis)
    except TRANSIENT:
        raise DatabaseAway from None
    return "-".join(format(value, "x") for value in (device_id, *row.values()))


async def stream(
    pool: asyncpg.Pool, *, tenant_id: int, device_id: int, device: str, from_millis: int, to_millis: int, form: str
) -> AsyncIterator[bytes]:
    """The track as a document in `form`, in order of time, in pieces. Both ends of the span are inclusive.

    Each fix that is stored when the stream begins comes once, also when segments are merged between two pages.
    """
    writer = TrackWriter(format=form, device=device, from_millis=from_millis, to_millis=to_millis)
    after_millis: int | None = None
    merge_count: int | None = None
    segments = FIRST_PAGE_SEGMENTS
    while True:
        # One snapshot for both statements, so that the count is that of the page.
        async with tenant_transaction(pool, tenant_id, isolation="repeatable_read") as connection:
            count = await connection.fetchval(_SQL["merge_count"], tenant_id, device_id)
            if merge_count not in {None, count}:
                # Segments begin and end elsewhere than on the page before: on from the last fix that was sent.
                from_millis, after_millis = writer.rewind(), None
            merge_count = count
            rows = await connection.fetch(
                _SQL["track_page"], tenant_id, device_id, from_millis, to_millis, after_millis, segments
            )
        for *segment, _ in rows:
            if piece := writer.push(*segment):
                yield piece
        if len(rows) < segments:
            break
        after_millis = rows[-1]["first_at_millis"]
        # A segment holds from one fix to an hour of them: the pages that follow are as large as this one shows.
        fixes = sum(row["fix_count"] for row in rows)
        segments = max(FIRST_PAGE_SEGMENTS, min(PAGE_SEGMENTS, PAGE_FIXES * len(rows) // fixes))
    yield writer.finish()
