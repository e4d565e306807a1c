"""The kinds of events there are, and what the payload of each must look like. A closed list: clients rely on it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from fleetwire.errors import Problem
from fleetwire.runtime.client_data import Undecodable, decode

PAYLOAD_BYTES: Final = 16 * 1024
_NUL: Final = b"\\u0000"  # JSON may hold it, PostgreSQL's jsonb may not

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Note = Annotated[str, msgspec.Meta(max_length=1_000)]
_Seq = Annotated[int, msgspec.Meta(ge=1)]


class Assignment(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An order is given to the driver in whose room this stands, or taken away again."""

    order: _Id
    state: Literal["offered", "assigned", "withdrawn"]
    note: _Note | None = None


class Status(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Something has another state than before."""

    entity: Literal["order", "driver", "vehicle", "device"]
    id: _Id
    status: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    note: _Note | None = None


class Emergency(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Somebody is in danger, or is no longer. `of` is the number of the event that raised it, in all that follow."""

    emergency: Literal["sos", "accident", "medical", "security", "breakdown", "cargo", "other"]
    state: Literal["raised", "acknowledged", "resolved", "false_alarm", "cancelled"] = "raised"
    of: _Seq | None = None
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    accuracy: Annotated[float, msgspec.Meta(ge=0, le=100_000)] | None = None
    order: _Id | None = None
    note: _Note | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A text from one person to those in a room. `of` is the number of the event that it answers."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
    of: _Seq | None = None


Payload = Assignment | Status | Emergency | Message
KINDS: Final[Mapping[str, type[Payload]]] = MappingProxyType(
    {"assignment": Assignment, "status": Status, "emergency": Emergency, "message": Message}
)


_DECODERS: Final = {kind: msgspec.json.Decoder(payload) for kind, payload in KINDS.items()}


def check_kind(kind: str) -> None:
    """Lets the name of a kind pass.

    Raises:
        Problem: 400 `event_kind`.
    """
    if kind not in KINDS:
        raise Problem("event_kind", f"kind must be one of {', '.join(KINDS)}.", status=400)


def check(kind: str, payload: bytes) -> bytes:
    """A payload as it is stored: JSON that fits its kind.

    Raises:
        Problem: 400 `event_kind`, `event_payload`.
    """
    check_kind(kind)
    if len(payload) > PAYLOAD_BYTES:
        raise Problem("event_payload", f"The payload holds more than {PAYLOAD_BYTES} bytes.", status=400)
    try:
        stored = msgspec.json.encode(decode(_DECODERS[kind], payload))
    except Undecodable as error:
        raise Problem("event_payload", f"The payload does not fit its kind: {error}.", status=400) from error
    if _NUL in stored:
        raise Problem("event_payload", "The payload holds a NUL character.", status=400)
    return stored
