"""Times a batch from JSON to validated COPY bytes, compared with the same work in Python."""

import struct
from collections.abc import Iterator
from typing import Any

from bench.micro import rival, samples
from bench.micro.bench_decode import FUTURE_MILLIS
from bench.micro.stopwatch import Stopwatch
from fleetwire._core import Decoder, Group, Recent, RowTypes, Sealed, TrackWriter

GROUP_BATCHES = 64
_ROW_AT = 20  # after the head of the array
_OFFSET_COLUMN = 6
_ROW_TYPES = RowTypes(track_segment=16_401, moved_position=16_402, packed_int4=16_403)
DAY_MILLIS = 86_400_000


def run(stopwatch: Stopwatch) -> dict[str, float]:
    """Returns microseconds per batch: alone, in a group of 64, and in Python."""
    made = samples.batch()
    body = samples.as_json(made)
    decoder = Decoder(max_fixes=10_000, future_millis=FUTURE_MILLIS)

    def seal(batches: int) -> Sealed:
        members = [
            (1, device, decoder.json(body, now_millis=samples.NOW_MILLIS, earliest_millis=0))
            for device in range(batches)
        ]
        group = Group(members)
        group.devices()
        return group.seal(
            last_fixed_millis=[None] * batches,
            stored=[],
            recent=Recent(max_fixes=0),
            received_at_millis=samples.NOW_MILLIS,
            row_types=_ROW_TYPES,
        )

    def in_python() -> tuple[list[rival.Row], list[tuple[int, str]]]:
        return rival.rows(rival.DECODE_JSON(body), tenant_id=1, device_id=1, now_millis=samples.NOW_MILLIS)

    _check(seal(1), in_python(), made)
    if seal(GROUP_BATCHES).stored != GROUP_BATCHES * samples.FIXES:
        raise AssertionError("A group does not store what its batches hold.")
    alone, group, python = stopwatch.interleaved(
        lambda: seal(1).segments, lambda: seal(GROUP_BATCHES).segments, in_python
    )
    return {
        "copy_micros": alone,
        "copy_in_group_micros": group / GROUP_BATCHES,
        "python_rows_micros": python,
        "copy_ratio": python / alone,
        "copy_in_group_ratio": python * GROUP_BATCHES / group,
    }


def _check(sealed: Sealed, python: tuple[list[rival.Row], Any], made: dict[str, Any]) -> None:
    latitudes = [fix["latitude"] for fix in made["fixes"]]
    rows, rejected = python
    if rejected or [row[3] for row in rows] != latitudes:
        raise AssertionError("The rival does not store what was sent.")
    if (sealed.stored, sealed.segment_count) != (samples.FIXES, 1):
        raise AssertionError("The core does not store what was sent.")
    columns = list(_fields(sealed.segments))
    offset_millis, lat_e7, lon_e7 = columns[_OFFSET_COLUMN : _OFFSET_COLUMN + 3]
    # Decoded by the core, whose packing is tested against the database's own.
    track = TrackWriter(format="csv", device="", from_millis=0, to_millis=DAY_MILLIS)
    text = track.push(0, offset_millis, lat_e7, lon_e7, None, None, None, None, None) + track.finish()
    if [float(line.split(b",")[2]) for line in text.splitlines()[1:]] != latitudes:
        raise AssertionError("The latitudes of the row are not those that were sent.")


def _fields(segments: bytes) -> Iterator[bytes]:
    """Yields the fields of the only row."""
    (count,) = struct.unpack_from(">i", segments, _ROW_AT + 4)
    start = _ROW_AT + 8
    for _ in range(count):
        _, size_bytes = struct.unpack_from(">Ii", segments, start)
        start += 8
        yield segments[start : start + max(0, size_bytes)]
        start += max(0, size_bytes)
