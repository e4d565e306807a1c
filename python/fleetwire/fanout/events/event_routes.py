"""`/api/events`: publish an event, and read the log page by page."""

from typing import Annotated, Any, Final

import asyncpg
import msgspec
from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import Parameter

from fleetwire.access.identity.guards import requires
from fleetwire.access.identity.principal import Principal
from fleetwire.errors import Problem
from fleetwire.fanout.events import event_log, rooms
from fleetwire.fanout.events.event_hub import EventHub
from fleetwire.fanout.events.event_messages import MAX_EVENT_MESSAGE_BYTES, ClientId, Millis, Publish, RoomName
from fleetwire.fanout.events.publishing import orders_heard, publish
from fleetwire.runtime.client_data import Undecodable, decode
from fleetwire.settings import Settings

LATEST_SEQ: Final = 2**63 - 1  # of PostgreSQL's bigint
_NO_STORE: Final = {"cache-control": "no-store"}

_ROOM = Parameter(query="room", description="One room; without it all that the credential may hear.")
_AFTER = Parameter(query="after", ge=0, le=LATEST_SEQ, description="The number behind which the page starts.")
_LIMIT = Parameter(query="limit", ge=1, le=event_log.PAGE_ROWS, description="How many events, at most.")


class EventForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`payload` must fit `kind`. By `client_id` the same event may be sent again; `occurred_at` in ms since 1970."""

    room: RoomName
    kind: str
    payload: msgspec.Raw
    client_id: ClientId | None = None
    occurred_at: Millis | None = None


_FORMS: Final[msgspec.json.Decoder[EventForm]] = msgspec.json.Decoder(EventForm)


class EventStoredAnswer(msgspec.Struct, frozen=True):
    """The number of the event, and when it was recorded, in ms since 1970."""

    seq: int
    recorded_at: int


class EventPage(msgspec.Struct, frozen=True):
    """Events in the order of their numbers; `newest` is the tenant's. With `gap`, some behind `after` are gone."""

    events: list[event_log.Event]
    newest: int
    gap: bool


@post(
    "/api/events",
    guards=[requires("events")],
    operation_id="publishEvent",
    summary="Publish an event",
    description="201 with its number when it is committed; 200 with the number of the first when the `client_id` is "
    "known. Body: `room`, `kind` (assignment, status, emergency, message), `payload`, and optionally `client_id`, "
    "`occurred_at`. Errors: 400 `room_invalid`, `event_kind`, `event_payload`, `time_invalid`; 403 `room_forbidden`, "
    "`kind_forbidden`.",
)
async def publish_event(
    request: Request[Any, Any, Any],
    principal: NamedDependency[Principal],
    event_hub: NamedDependency[EventHub],
    settings: NamedDependency[Settings],
) -> Response[EventStoredAnswer]:
    """Stores it, then tells the watchers."""
    form = _form(await request.body())
    message = Publish(
        room=form.room,
        kind=form.kind,
        payload=form.payload,
        client_id=form.client_id,
        occurred_at=form.occurred_at,
    )
    stored = await publish(event_hub, principal, message, future_secs=settings.future_secs)
    answer = EventStoredAnswer(stored.seq, stored.recorded_millis)
    return Response(answer, status_code=201 if stored.is_new else 200, headers=_NO_STORE)


@get("/api/events", guards=[requires("events")], operation_id="listEvents", summary="A page of events")
async def list_events(  # noqa: PLR0917 - the framework passes by name
    principal: NamedDependency[Principal],
    event_hub: NamedDependency[EventHub],
    app_pool: NamedDependency[asyncpg.Pool],
    room: Annotated[str | None, _ROOM] = None,
    after: Annotated[int, _AFTER] = 0,
    limit: Annotated[int, _LIMIT] = 100,
) -> Response[EventPage]:
    """Events after a number, oldest first; go on with the last number of a page.

    Raises:
        Problem: 400 `room_invalid`; 403 `room_forbidden`.
    """
    if room is not None:
        rooms.check_names([room])
        rooms.check_hears(principal, [room], await orders_heard(event_hub, principal, [room]))
    named = rooms.room_filter(principal, None if room is None else [room])
    tenant_id = principal.tenant_id
    span = await event_log.span(app_pool, tenant_id)
    found = await event_log.page(app_pool, tenant_id, after_seq=after, rooms=named, limit=limit)
    page = EventPage(found, span.newest, gap=after + 1 < span.oldest)
    return Response(page, headers=_NO_STORE)


event_router = Router("/", route_handlers=[publish_event, list_events], tags=["Events"])


def _form(body: bytes) -> EventForm:
    """The body, decoded here: the payload stays as it was sent until its kind says what it should be."""
    if len(body) > MAX_EVENT_MESSAGE_BYTES:
        raise Problem("body_too_large", f"The body holds more than {MAX_EVENT_MESSAGE_BYTES} bytes.", status=413)
    try:
        return decode(_FORMS, body)
    except Undecodable as error:
        raise Problem("request_invalid", f"The body does not fit: {error}.", status=400) from error
