"""Decodes the compact encodings of a feed frame to the members of its plain JSON encoding.

Binary frames follow proto/feed.proto; text frames may have rows and a list of columns instead of objects.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

_VARINT, _BYTES = 0, 2  # wire types; frames have no others

_KINDS: Final = {1: "snapshot", 2: "moved"}
_KIND, _EPOCH, _SEQ, _MORE, _NAMES, _DEVICES, _FIXED_AT, _LAT, _LON = range(1, 10)
_ALTITUDE: Final = 11
_LEFT: Final = 15
_SCALED: Final = {
    10: ("accuracy", 10),
    11: ("altitude", 10),
    12: ("heading", 100),
    13: ("speed", 100),
    14: ("battery", 1000),
}
"""Columns of optional members: name of the member, and units per whole (10: decimetres for metres)."""


def parse_frame(data: bytes, names: dict[int, str]) -> dict[str, Any]:
    """Parses one message of a `fleetwire.v1.protobuf` socket.

    Args:
        data: the message.
        names: device names by number from earlier messages; new ones are added. Numbers are valid until the next
            snapshot starts.

    Raises:
        ValueError: the message is truncated, or a device has no name.
    """
    fields: dict[int, Any] = {}
    for number, value in _fields(data):
        if number == _NAMES:
            name = dict(_fields(value))
            names[_signed(name.get(1, 0))] = bytes(name.get(2, b"")).decode()
        else:
            fields[number] = value
    frame: dict[str, Any] = {"type": _KINDS.get(fields.get(_KIND, 0), "unknown"), "seq": fields.get(_SEQ, 0)}
    if _EPOCH in fields:
        frame["epoch"] = bytes(fields[_EPOCH]).decode()
    frame["positions"] = _positions(fields, names)
    if _LEFT in fields:
        frame["left"] = [_name_of(names, device) for device in _delta_decoded(fields[_LEFT])]
    if fields.get(_MORE):
        frame["more"] = True
    return frame


def expand_rows(frame: dict[str, Any]) -> None:
    """Replaces the rows of a message by objects, in place; omits null values. No-op for a message without rows."""
    columns = frame.pop("columns", None)
    if columns is not None:
        frame["positions"] = [
            {name: value for name, value in zip(columns, row, strict=False) if value is not None}
            for row in frame["positions"]
        ]


def _positions(fields: dict[int, Any], names: dict[int, str]) -> list[dict[str, Any]]:
    columns = [list(_delta_decoded(fields.get(number, b""))) for number in (_DEVICES, _FIXED_AT, _LAT, _LON)]
    if any(len(column) != len(columns[0]) for column in columns):
        raise ValueError("The columns of the frame differ in length.")
    positions: list[dict[str, Any]] = [
        {
            "device": _name_of(names, device),
            "timestamp": fixed_at_millis,
            "latitude": lat_e7 / 10_000_000,
            "longitude": lon_e7 / 10_000_000,
        }
        for device, fixed_at_millis, lat_e7, lon_e7 in zip(*columns, strict=True)
    ]
    for number, (member, parts) in _SCALED.items():
        for position, value in zip(positions, _varints(fields.get(number, b"")), strict=False):
            if value:
                position[member] = (_signed(value - 1) if number == _ALTITUDE else value - 1) / parts
    return positions


def _name_of(names: dict[int, str], device: int) -> str:
    if device not in names:
        raise ValueError(f"The frame does not name device {device}.")
    return names[device]


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """Yields (number, value) of each field: an unsigned integer, or bytes."""
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _varint(view, at)
        value, at = _varint(view, at)
        if key & 7 == _BYTES:
            if at + value > len(view):
                raise ValueError("The frame is truncated.")
            yield key >> 3, view[at : at + value]
            at += value
        elif key & 7 == _VARINT:
            yield key >> 3, value
        else:
            raise ValueError(f"The frame has a field of the wire type {key & 7}.")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view):
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at
        shift += 7
    raise ValueError("The frame is truncated.")


def _varints(column: memoryview | bytes) -> Iterator[int]:
    value = shift = 0
    for byte in column:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004
            yield value
            value = shift = 0


def _signed(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def _delta_decoded(column: memoryview | bytes) -> Iterator[int]:
    """Yields the values of a delta-encoded column."""
    return accumulate(map(_signed, _varints(column)))
