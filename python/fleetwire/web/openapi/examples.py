"""What goes over each route, by example, and with which codes each may refuse: data for the description of the API.

Codes that follow from the kind of route (no credential, too many requests) are added by `web/openapi/complete.py`.
"""

from typing import Any, Final, NamedTuple


class Route(NamedTuple):
    """One route by example."""

    answer: Any = None
    """Of the success; by media type where there are several or another one than JSON."""
    body: Any = None
    codes: str = ""
    """Statuses and codes of its own: `404 user_unknown, 409 user_exists last_admin`."""
    other: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """Further answers that are no problems, by status; None has no body."""
    media: bool = False
    """Whether `answer` is by media type."""


_AT: Final = 1763768400000
_EXPIRY: Final = _AT + 900_000
_GEOJSON: Final = "application/geo+json"
_POINT: Final = {"type": "Point", "coordinates": [11.576124, 48.137154]}
_POSITION: Final = {"type": "Feature", "geometry": _POINT, "properties": {"device": "truck-7", "timestamp": _AT}}
_PAST: Final = {**_POSITION, "properties": {**_POSITION["properties"], "time": "2025-11-21T23:40:00.000Z"}}  # type: ignore[dict-item]
_GPX: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="Fleetwire" '
    'xmlns="http://www.topografix.com/GPX/1/1"><trk><name>truck-7</name><trkseg>\n<trkpt lat="48.137154" '
    'lon="11.576124"><time>2025-11-21T23:40:00.000Z</time></trkpt>\n</trkseg></trk></gpx>\n'
)
_CSV: Final = (
    "device,ts_ms,lat,lon,alt_m,speed_mps,heading_deg,accuracy_m,battery\n"
    "truck-7,1763768400000,48.137154,11.576124,,13.4,271,5,0.8\n"
)
_METRICS: Final = 'fleetwire_ingest_batches_total{door="http",outcome="received"} 4711.0\n'
_LOGIN: Final = {
    "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl",
    "expires_at": _EXPIRY,
    "refresh_token": "fwr_AAAAAe3H6AsALUv-hE1b40M2DXs80CbhhYxrtxCfCxAhKkgI",
    "session_expires_at": _AT + 7_200_000,
    "user": "dora",
    "role": "dispatcher",
    "tenant": "acme",
}
_SESSION: Final = {
    "session_id": "edc7e80b-002d-4bfe-844d-5be343360d7b",
    "created_at": _AT,
    "refreshed_at": _AT,
    "expires_at": _AT + 7_200_000,
    "address": "198.51.100.7",
    "user_agent": "Mozilla/5.0",
    "current": True,
}
_USER: Final = {
    "name": "ruth",
    "display_name": "Ruth",
    "role": "driver",
    "status": "active",
    "device": "truck-7",
    "has_password": True,
    "created_at": _AT,
}
_TOKEN: Final = {
    "token_id": 4,
    "kind": "ingest",
    "label": "gateway",
    "role": "ingest",
    "device": None,
    "user": None,
    "scopes": None,
    "created_at": _AT,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": _AT,
}
_CHANGE: Final = {
    "audit_id": 6,
    "noted_at": _AT,
    "actor": "ada",
    "action": "token.create",
    "subject": "4",
    "detail": {"kind": "ingest", "name": "gateway", "scopes": None, "life_secs": None},
    "address": "198.51.100.7",
    "request_id": "bef425c9203b-5",
}
_EVENT: Final = {
    "type": "event",
    "seq": 17,
    "room": "dispatch",
    "kind": "emergency",
    "payload": {"emergency": "sos"},
    "actor": "driver:van-7",
    "occurred_at": _AT,
    "recorded_at": _AT + 212,
}
_HEALTH: Final = {
    "status": "ok",
    "phase": "ready",
    "stuck_tasks": [],
    "warnings": [],
    "uptime_secs": 86400.5,
    "database": {"ok": True, "millis": 0.5},
    "sockets": {"driver": 120, "dispatch": 8},
    "held_batches": 0,
    "memory_bytes": 77836288,
    "memory_peak_bytes": 144588800,
    "cpu": {"busy": 0.402, "used_secs": 31.4, "load_1_min": 1.2},
    "pid": 10899,
}
_CACHE: Final = {
    "requests": {"hit": 940, "miss": 20, "stale": 40},
    "hit_rate": 0.98,
    "handler_calls": 60,
    "not_modified": 12,
    "invalidations": 3,
    "entries": 14,
    "max_entries": 10000,
    "bytes": 51200,
    "max_bytes": 67108864,
    "being_made": 0,
    "refused": 0,
    "second_level": None,
}
_POOL: Final = {"pool": "app", "active": 1, "idle": 4, "open": 5, "min": 5, "max": 10, "slow_queries": 0}
_POOLS: Final = {
    "pools": [_POOL],
    "max_connections": 50,
    "connect_timeout_secs": 5.0,
    "idle_connection_secs": 30.0,
    "slow_query_secs": 1.0,
    "listens_for_revocations": True,
}
_SOCKETS: Final = {
    "sockets": {"driver": 120, "dispatch": 8},
    "protocols": {"fleetwire.v1.json": 8},
    "frames": {"snapshot": 8, "moved": 4000, "resync": 0, "heartbeat": 3},
    "bytes": {"snapshot": 81920, "moved": 2048000},
    "conflated": 2,
    "dropped": 2,
    "rate_refused": 0,
    "closes": {"1012": 1},
    "slow_closes": 0,
    "fix_to_watcher_secs": {"p50": 0.15, "p90": 0.25, "p99": 0.3},
    "events": {"published": 17, "delivered": 136, "redelivered": 0, "unacknowledged": 2, "windows_full": 0, "pages": 1},
}
_PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of nobody
_OF_USER: Final = (
    "400 name_invalid password_short password_long password_unreadable password_common device_of_driver role_unknown"
)

ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("get", "/livez"): Route({"status": "alive"}),
    ("get", "/readyz"): Route({"status": "ready"}, other={"503": {"status": "draining"}}),
    ("get", "/health"): Route(_HEALTH, other={"503": _HEALTH | {"status": "degraded", "phase": "draining"}}),
    ("get", "/metrics"): Route({"text/plain": _METRICS}, media=True),
    ("get", "/api/db/stats"): Route(_POOLS),
    ("get", "/api/cache/stats"): Route(_CACHE),
    ("get", "/api/websocket/stats"): Route(_SOCKETS),
    ("get", "/api/console"): Route({"version": "0.1.0", "map_style": None, "overlay": None}),
    ("get", "/api/console/overlay"): Route(
        {_GEOJSON: {"type": "FeatureCollection", "features": []}}, media=True, codes="404 overlay_unset"
    ),
    ("post", "/api/login"): Route(
        _LOGIN,
        {"tenant": "acme", "user": "dora", "password": _PASSWORD},
        "401 login_failed, 403 login_suspended origin_forbidden, 429 login_rate, 503 login_busy access_unavailable",
    ),
    ("get", "/api/session"): Route(
        {"kind": "user", "role": "dispatcher", "tenant": "acme", "user": "dora", "device": None, "expires_at": _EXPIRY}
    ),
    ("post", "/api/session/renew"): Route(
        _LOGIN | {"refresh_token": "fwr_AAAAAe3H6AsALUv-hE1b40M2DXs80CbhhYxrtxCfCxAhKkgJ"},
        {"refresh_token": _LOGIN["refresh_token"]},
        "401 token_missing token_invalid token_expired token_revoked refresh_reused, "
        "403 login_suspended origin_forbidden, 503 access_unavailable",
    ),
    ("post", "/api/password"): Route(
        body={"old_password": _PASSWORD, "new_password": "a wet stone by the river"},
        codes="400 password_short password_long password_unreadable password_common, "
        "403 session_needed password_wrong origin_forbidden, 429 login_rate, 503 login_busy access_unavailable",
    ),
    ("post", "/api/logout"): Route(
        codes="401 token_missing token_invalid, 403 forbidden origin_forbidden, 503 access_unavailable"
    ),
    ("get", "/api/sessions"): Route({"sessions": [_SESSION]}),
    ("delete", "/api/sessions/{session_id}"): Route(codes="404 session_unknown"),
    ("get", "/api/users"): Route({"users": [_USER], "next": None}),
    ("post", "/api/users"): Route(
        _USER,
        {"name": "ruth", "role": "driver", "password": _PASSWORD, "device": "truck-7", "display_name": "Ruth"},
        f"{_OF_USER}, 403 device_limit scope_exceeded life_exceeded, 409 user_exists",
    ),
    ("patch", "/api/users/{name}"): Route(
        _USER | {"role": "viewer", "device": None},
        {"role": "viewer", "device": None},
        f"{_OF_USER}, 403 device_limit scope_exceeded life_exceeded password_own, 404 user_unknown, 409 last_admin",
    ),
    ("get", "/api/users/{name}/sessions"): Route(
        {"sessions": [_SESSION | {"current": False}]}, codes="404 user_unknown"
    ),
    ("get", "/api/tokens"): Route({"tokens": [_TOKEN], "next": 4}),
    ("post", "/api/tokens"): Route(
        {"token_id": 4, "token": "fwi_gPc3_0BniNOzoHYA_c-op3F9giDTJiqwGmNcbXboFd8"},
        {"kind": "ingest", "name": "gateway", "life_secs": 31_536_000},
        "400 name_invalid scope_unknown life_invalid, 403 device_limit scope_exceeded life_exceeded, 404 user_unknown",
    ),
    ("delete", "/api/tokens/{token_id}"): Route(codes="404 token_unknown"),
    ("get", "/api/audit"): Route({"entries": [_CHANGE], "next": 6}),
    ("get", "/api/live"): Route(
        {_GEOJSON: {"type": "FeatureCollection", "features": [_POSITION]}}, media=True, other={"304": None}
    ),
    ("get", "/api/devices"): Route(
        {
            "devices": [{"name": "truck-7", "created_at": _AT, "last_fixed_at": _AT, "received_at": _AT + 169}],
            "next": None,
        },
        other={"304": None},
    ),
    ("get", "/api/devices/{name}/track"): Route(
        {
            _GEOJSON: {"type": "FeatureCollection", "features": [_PAST]},
            "application/gpx+xml": _GPX,
            "text/csv": _CSV,
        },
        media=True,
        codes="400 time_invalid span_invalid, 404 device_unknown",
        other={"304": None},
    ),
    ("get", "/api/events"): Route(
        {"events": [_EVENT], "newest": 17, "gap": False}, codes="400 room_invalid, 403 room_forbidden"
    ),
    ("post", "/api/events"): Route(
        {"seq": 17, "recorded_at": _AT + 212},
        {"room": "dispatch", "kind": "emergency", "payload": {"emergency": "sos"}, "client_id": "0b6c"},
        "400 room_invalid event_kind event_payload time_invalid, 403 room_forbidden kind_forbidden, 413 body_too_large",
        other={"200": {"seq": 17, "recorded_at": _AT + 212}},
    ),
    ("put", "/api/orders/{order}/devices"): Route(None, {"devices": ["truck-7"]}, "400 order_name, 404 device_unknown"),
    ("delete", "/api/orders/{order}/devices"): Route(codes="400 order_name"),
}
