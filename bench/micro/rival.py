"""Does the same steps in Python with the fastest libraries: msgspec structs, checks, tuples for asyncpg's COPY."""

from datetime import UTC, datetime, timedelta
from math import isfinite

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_MILLIS = 946_684_800_000
Row = tuple[int, int, datetime, float, float, float | None, float | None, float | None, float | None, datetime]


class UncheckedFix(msgspec.Struct, gc=False):
    """Received fix, of which only the types are checked."""

    timestamp: float
    latitude: float
    longitude: float
    accuracy: float | None = None
    altitude: float | None = None
    heading: float | None = None
    speed: float | None = None


class UncheckedBatch(msgspec.Struct, gc=False):
    """Envelope of the fixes."""

    fixes: list[UncheckedFix]
    device: str | None = None


DECODE_JSON = msgspec.json.Decoder(UncheckedBatch).decode
DECODE_MSGPACK = msgspec.msgpack.Decoder(UncheckedBatch).decode


def rows(
    batch: UncheckedBatch, *, tenant_id: int, device_id: int, now_millis: int
) -> tuple[list[Row], list[tuple[int, str]]]:
    """Returns validated rows for `copy_records_to_table`, which would still have to encode them, and rejects."""
    latest_millis, received_at = now_millis + 600_000, _time(now_millis)
    valid: list[Row] = []
    rejected: list[tuple[int, str]] = []
    seen: set[float] = set()
    for index, fix in enumerate(batch.fixes):
        if (code := _fault(fix, latest_millis)) is not None:
            rejected.append((index, code))
        elif fix.timestamp not in seen:
            seen.add(fix.timestamp)
            valid.append(
                (
                    tenant_id, device_id, _time(fix.timestamp), fix.latitude, fix.longitude,
                    fix.accuracy, fix.altitude, fix.heading, fix.speed, received_at,
                )
            )  # fmt: skip
    return valid, rejected


def _time(millis: float) -> datetime:
    return _EPOCH + timedelta(milliseconds=millis)


def _fault(fix: UncheckedFix, latest_millis: int) -> str | None:
    code = None
    if not _EARLIEST_MILLIS <= fix.timestamp <= latest_millis:
        code = "timestamp_range"
    elif not -90 <= fix.latitude <= 90:
        code = "latitude_range"
    elif not -180 <= fix.longitude <= 180:
        code = "longitude_range"
    elif fix.accuracy is not None and not 0 <= fix.accuracy <= 100_000:
        code = "accuracy_range"
    elif fix.altitude is not None and not (isfinite(fix.altitude) and -12_000 <= fix.altitude <= 100_000):
        code = "altitude_range"
    elif fix.heading is not None and not 0 <= fix.heading <= 360:
        code = "heading_range"
    elif fix.speed is not None and not 0 <= fix.speed <= 327:
        code = "speed_range"
    return code
