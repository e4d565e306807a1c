"""The shapes of what the core and others write and read without types of ours; `/asyncapi.json` is made from them."""

from typing import Annotated

import msgspec

Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180)]


class Fix(msgspec.Struct):
    """A position in the names and units of the W3C Geolocation API; `timestamp` in ms since 1970 or ISO 8601."""

    timestamp: int | float | str
    latitude: Latitude
    longitude: Longitude
    accuracy: float | None = None
    altitude: float | None = None
    heading: float | None = None
    speed: float | None = None
    battery: float | None = None


class Batch(msgspec.Struct, tag_field="type", tag="batch"):
    """Up: fixes to be stored. `type` may be left out; with an ingest key `device` may not."""

    fixes: list[Fix]
    id: str | int | None = None
    device: str | None = None


class Reject(msgspec.Struct):
    """A fix that was refused; `index` counts the fixes of the batch from 0."""

    index: int
    code: str
    detail: str


class Receipt(msgspec.Struct, tag_field="type", tag="receipt"):
    """Down: what became of a batch. With a spool, while the database is away, `queued` instead of the two counts."""

    rejected: list[Reject]
    stored: int | None = None
    duplicate: int | None = None
    queued: int | None = None
    id: str | None = None


class Position(msgspec.Struct):
    """A device's newest fix: what its sender gave, in the units of a fix; `timestamp` in ms since 1970."""

    device: str
    timestamp: int
    latitude: Latitude
    longitude: Longitude
    accuracy: float | None = None
    altitude: float | None = None
    heading: float | None = None
    speed: float | None = None
    battery: float | None = None


class Snapshot(msgspec.Struct, tag_field="type", tag="snapshot"):
    """Down: every device of the watch that has a position. With `more`, the rest comes in another of the same `seq`."""

    epoch: str
    seq: int
    positions: list[Position]
    more: bool = False


class Moved(msgspec.Struct, tag_field="type", tag="moved"):
    """Down: what moved or came since this socket's last frame, newest positions only, and what `left` the watch.

    With `more`, the rest comes in another of the same `seq`.
    """

    seq: int
    positions: list[Position]
    left: list[str] = []
    more: bool = False


Row = Annotated[list[str | int | float | None], msgspec.Meta(min_length=4)]
"""A position's values in the order of the columns; null for what the sender left out, and nothing at a row's end."""


class SnapshotRows(msgspec.Struct, tag_field="type", tag="snapshot"):
    """Down, with the subprotocol `fleetwire.v1.rows`: a snapshot whose positions are rows below columns."""

    epoch: str
    seq: int
    columns: list[str]
    positions: list[Row]
    more: bool = False


class MovedRows(msgspec.Struct, tag_field="type", tag="moved"):
    """Down, with the subprotocol `fleetwire.v1.rows`: what moved as rows below columns, and what `left` the watch."""

    seq: int
    columns: list[str]
    positions: list[Row]
    left: list[str] = []
    more: bool = False


class Resync(msgspec.Struct, tag_field="type", tag="resync"):
    """Down: a resume cannot be followed; a snapshot comes next."""

    epoch: str
