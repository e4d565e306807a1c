"""The messages about events and of a socket's own life, both ways; `/asyncapi.json` is made from these types."""

from typing import Annotated, Final, Literal, Self

import msgspec

from fleetwire.errors import Problem
from fleetwire.fanout.events.rooms import MAX_ROOMS

MAX_EVENT_MESSAGE_BYTES: Final = 64 * 1024

RoomName = Annotated[str, msgspec.Meta(min_length=1, max_length=262)]
ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Millis = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]


class Publish(msgspec.Struct, tag_field="type", tag="event"):
    """Up: store an event. `id` comes back in the answer; by `client_id` it may be sent again without a second event."""

    room: RoomName
    kind: str
    payload: msgspec.Raw
    id: str | int | None = None
    client_id: ClientId | None = None
    occurred_at: Millis | None = None


class Join(msgspec.Struct, tag_field="type", tag="events"):
    """Up: hear these rooms from now on, or everything behind `after`. What was joined before is left."""

    rooms: Annotated[list[RoomName], msgspec.Meta(min_length=1, max_length=MAX_ROOMS)]
    after: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Ack(msgspec.Struct, tag_field="type", tag="ack"):
    """Up: every event of this socket up to `seq` has arrived and need not come again."""

    seq: Annotated[int, msgspec.Meta(ge=0)]


class Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat"):
    """Both ways: this side lives. A client that has sent one is held to answering."""


class Auth(msgspec.Struct, tag_field="type", tag="auth"):
    """Up: the credential of a socket that was opened without one; its first message."""

    token: str


class Authenticated(msgspec.Struct, tag_field="type", tag="authenticated"):
    """Down: the answer to `auth`; `expires_at` in ms since 1970, null without an end."""

    expires_at: int | None


class Joined(msgspec.Struct, tag_field="type", tag="joined"):
    """Down: the answer to `events`. With `gap`, events behind the wished `after` are not kept any more: load anew."""

    rooms: list[str]
    after: int
    gap: bool


class EventStored(msgspec.Struct, tag_field="type", tag="event_stored", omit_defaults=True):
    """Down: a published event is committed under this number."""

    seq: int
    id: str | None = None


class Failure(msgspec.Struct, tag_field="type", tag="error", omit_defaults=True):
    """Down: a message was not followed. `code` is what programs read."""

    status: int
    code: str
    detail: str
    id: str | None = None
    retry_after_secs: int | None = None

    @classmethod
    def of(cls, problem: Problem, message_id: str | None = None) -> Self:
        """What a problem says on a socket; `message_id` names the message that it answers."""
        return cls(problem.status, problem.code, problem.detail, message_id, problem.retry_after_secs)


class Typed(msgspec.Struct):
    """What tells messages apart. The rest of a message is skipped and not looked at."""

    type: str | None = None
    id: str | int | None = None


EventMessage = Publish | Join | Ack
Type = Literal["event", "events", "ack"]
