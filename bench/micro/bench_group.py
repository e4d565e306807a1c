"""Bytes of a batch to bytes of COPY, everything checked, beside the same work in Python."""

import struct
from collections.abc import Iterator
from typing import Any

from bench.micro import rival, samples
from bench.micro.bench_decode import FUTURE_MILLIS
from bench.micro.stopwatch import Stopwatch
from fleetwire._core import Decoder, Group, Sealed

GROUP_BATCHES = 64
_HEADER_BYTES, _TRAILER = 19, b"\xff\xff"
_LAT_COLUMN = 7


def run(stopwatch: Stopwatch) -> dict[str, float]:
    """A batch alone, a group of 64, and Python; microseconds of one batch."""
    made = samples.batch()
    body = samples.as_json(made)
    decoder = Decoder(max_fixes=10_000, future_millis=FUTURE_MILLIS)

    def seal(batches: int) -> Sealed:
        members = [(1, device, decoder.json(body, now_millis=samples.NOW_MILLIS)) for device in range(batches)]
        group = Group(members)
        group.devices()
        return group.seal(last_fixed_millis=[None] * batches, stored=[], received_at_millis=samples.NOW_MILLIS)

    def in_python() -> tuple[list[rival.Row], list[tuple[int, str]]]:
        return rival.rows(rival.DECODE_JSON(body), tenant_id=1, device_id=1, now_millis=samples.NOW_MILLIS)

    _check(seal(1), in_python(), made)
    if seal(GROUP_BATCHES).stored != GROUP_BATCHES * samples.FIXES:
        raise AssertionError("A group does not store what its batches hold.")
    alone, group, python = stopwatch.interleaved(lambda: seal(1).copy, lambda: seal(GROUP_BATCHES).copy, in_python)
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
        raise AssertionError("The rival does not keep what was sent.")
    if sealed.stored != samples.FIXES or sealed.copy[-2:] != _TRAILER:
        raise AssertionError("The core does not store what was sent.")
    columns = list(_fields(sealed.copy))
    array = columns[_LAT_COLUMN]
    # Dimensions, flags, type, length and lower bound take 20 bytes; then each element has its length before it.
    found = [value for _, value in struct.iter_unpack(">ii", array[20:])]
    if found != [round(lat_deg * 1e7) for lat_deg in latitudes]:
        raise AssertionError("The latitudes of the COPY bytes are not those that were sent.")


def _fields(copy: bytes) -> Iterator[bytes]:
    """The fields of the only row."""
    (count,) = struct.unpack_from(">h", copy, _HEADER_BYTES)
    start = _HEADER_BYTES + 2
    for _ in range(count):
        (size_bytes,) = struct.unpack_from(">i", copy, start)
        start += 4
        yield copy[start : start + max(0, size_bytes)]
        start += max(0, size_bytes)
