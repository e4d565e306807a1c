"""`GET /api/live` and `GET /api/devices/{name}/track`: the present and the past of devices."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import asyncpg
from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import Parameter
from litestar.response import Response, Stream

from fleetwire.access.identity.guards import requires
from fleetwire.access.identity.principal import Principal
from fleetwire.cache.entry import matches
from fleetwire.cache.rules import ASK_AGAIN, OPTION, Cached
from fleetwire.errors import Problem
from fleetwire.live.own import own_position
from fleetwire.live.state import Live
from fleetwire.live.streams import Streams
from fleetwire.runtime import asgi, clock
from fleetwire.settings import Settings
from fleetwire.store import tracks
from fleetwire.store.retention import Retention

_MILLIS = re.compile(r"-?[0-9]{1,18}")
DEFAULT_SPAN_MILLIS = 24 * 3600 * 1000
# While a fleet moves, an answer of the newest commit would never be kept. This one is a tick old at the most, as a feed
# is; and this much older to who asks while a new one is made.
FRESH_SECS = 0.25
STALE_SECS = 1.75
LIVE_VERSION = "live"  # the name of the version that the live table counts
UNCHANGED_SECS = 60.0  # an answer nobody asks for any more gives its memory back
LATEST_MILLIS = 253_402_300_799_999  # the end of the year 9999, where ISO 8601 ends

_FROM = Parameter(
    query="from", description="Start, inclusive: ms since 1970 or ISO 8601; a day before the end if left out."
)
_TO = Parameter(
    query="to", description="End, inclusive: ms since 1970 or ISO 8601; now and the allowed clock error if left out."
)
_FORMAT = Parameter(
    query="format", description="geojson, gpx, csv; or csv-spreadsheet, in which no name is taken for a formula."
)


@get(
    "/api/live",
    guards=[requires("watch", "watch_own")],
    # Not shared: every worker has the positions in its memory.
    opt={
        OPTION: Cached(
            secs=FRESH_SECS,
            stale_secs=STALE_SECS,
            version=LIVE_VERSION,
            unchanged_secs=UNCHANGED_SECS,
            is_shared=False,
        )
    },
    summary="Live positions as GeoJSON",
)
async def live_positions(
    principal: NamedDependency[Principal],
    app_pool: NamedDependency[asyncpg.Pool],
    live: NamedDependency[Live],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    """The newest position of every device of the tenant, a Point feature each; to a driver, of the own device.

    The answer is up to 2 seconds old while devices move, and of the newest commit with `Cache-Control: no-cache`.

    Raises:
        Problem: 503 `database_unavailable`, for a driver only.
    """
    if not principal.may("watch"):
        own = await own_position(app_pool, settings, principal.tenant_id, principal.device_id or 0)
        return Response(own, media_type="application/geo+json", headers={"cache-control": "no-store"})
    return Response(live.geojson(principal.tenant_id), media_type="application/geo+json")


@get("/api/devices/{name:str}/track", guards=[requires("watch", "watch_own")], summary="A device's track")
async def device_track(  # noqa: PLR0917 - the framework passes by name
    principal: NamedDependency[Principal],
    app_pool: NamedDependency[asyncpg.Pool],
    settings: NamedDependency[Settings],
    retention: NamedDependency[Retention],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    name: str,
    from_: Annotated[str | None, _FROM] = None,
    to: Annotated[str | None, _TO] = None,
    format: Annotated[Literal["geojson", "gpx", "csv", "csv-spreadsheet"], _FORMAT] = "geojson",  # noqa: A002 - its name on the wire
) -> Response[Any]:
    """Every stored fix of a device in a span, in order of time, streamed; 304 for a past span that is as it was.

    A driver sees the own device alone. Fixes older than the tenant keeps them are left out, also where they are not
    deleted yet.

    Raises:
        Problem: 404 `device_unknown`; 400 `time_invalid` or `span_invalid`; 429 `streams_limit`;
            503 `database_unavailable`, `streams_full`.
    """
    to_millis = _millis(to) if to else clock.now_millis() + settings.future_secs * 1000
    from_millis = _millis(from_) if from_ else to_millis - DEFAULT_SPAN_MILLIS
    if from_millis > to_millis:
        raise Problem("span_invalid", "The start lies after the end.", status=400)
    tenant_id, device = principal.tenant_id, asgi.unveil(name)
    device_id = await tracks.find_device(app_pool, tenant_id, device)
    if not principal.sees_device(device_id):
        raise tracks.unknown(device)
    headers = {"cache-control": "no-store"}
    earliest_millis = retention.earliest_millis(tenant_id, clock.now_millis())
    is_cut, from_millis = from_millis < earliest_millis, max(from_millis, earliest_millis)
    # Of a span that is cut, no name is given: it holds less with every moment.
    if from_ and not is_cut and to_millis < clock.now_millis():
        # Asked before the track is read: a fix that comes between the two is in the track, and in the next state.
        state = await tracks.state(
            app_pool, tenant_id=tenant_id, device_id=device_id, from_millis=from_millis, to_millis=to_millis
        )
        headers = {"etag": f'W/"{state}"', "cache-control": ASK_AGAIN}
        if matches(request.headers.get("if-none-match", "").encode("latin-1"), headers["etag"].encode()):
            return Response(None, status_code=304, headers=headers)
    streams.take(request.scope, principal)
    pieces = tracks.stream(
        app_pool,
        tenant_id=tenant_id,
        device_id=device_id,
        device=device,
        from_millis=from_millis,
        to_millis=to_millis,
        form=format,
    )
    return Stream(pieces, media_type=tracks.MEDIA_TYPES[format], headers=headers)


live_router = Router("/", route_handlers=[live_positions, device_track], tags=["Live and history"])


def _millis(text: str) -> int:
    """Milliseconds since 1970, given as such or as ISO 8601 with an offset."""
    if _MILLIS.fullmatch(text):
        millis = int(text)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise Problem("time_invalid", f"{text!r} is neither ms since 1970 nor ISO 8601.", status=400) from None
        if moment.tzinfo is None:
            raise Problem("time_invalid", f"{text!r} has no offset from UTC.", status=400)
        millis = round(moment.timestamp() * 1000)
    if not 0 <= millis <= LATEST_MILLIS:
        raise Problem("time_invalid", f"{text!r} is outside the years 1970 to 9999.", status=400)
    return millis
