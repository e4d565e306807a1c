"""`/asyncapi.json`: the two sockets, every message up and down, and why they are closed (AsyncAPI 3.0).

The schemas are made from the types that read and write the messages; a test holds the rest against the code.
"""

from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from fleetwire import __version__
from fleetwire.fanout.events import event_kinds, event_log, event_messages
from fleetwire.fanout.feed import dispatch_socket, frames
from fleetwire.fanout.sockets.close_codes import MEANINGS, Close
from fleetwire.ingest import ws
from fleetwire.live import subscription
from fleetwire.settings import Settings

# Both sockets speak these.
_UP: Final = (
    event_messages.Auth,
    event_messages.Heartbeat,
    event_messages.Publish,
    event_messages.Join,
    event_messages.Ack,
)
_DOWN: Final = (
    event_messages.Authenticated,
    event_messages.Heartbeat,
    event_messages.EventStored,
    event_messages.Joined,
    event_log.Event,
    event_messages.Failure,
)
UP: Final[dict[str, tuple[type[msgspec.Struct], ...]]] = {
    ws.PATH: (frames.Batch, *_UP),
    dispatch_socket.PATH: (subscription.Watch, subscription.Resume, *_UP),
}
"""Path to the messages that a client sends."""
DOWN: Final[dict[str, tuple[type[msgspec.Struct], ...]]] = {
    ws.PATH: (frames.Receipt, *_DOWN),
    dispatch_socket.PATH: (frames.Snapshot, frames.Moved, frames.SnapshotRows, frames.MovedRows, frames.Resync, *_DOWN),
}
"""Path to the messages that the server sends."""
_CHANNELS: Final = {
    ws.PATH: ("driver", "A driver's socket", "Batches up, receipts down; for an ingest key or a device token."),
    dispatch_socket.PATH: ("dispatch", "A dispatcher's feed", "A snapshot, then what moves; for whoever may watch."),
}
_NAMES: Final = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": subscription.LONGEST_NAME}}
_STATUS: Final = {"enum": list(subscription.STATUSES)}
_FILTER: Final = {
    "area": {
        "type": "array",
        "items": {"type": "number", "minimum": -180, "maximum": 180},
        "minItems": len(subscription.EDGES),
        "maxItems": len(subscription.EDGES),
        "description": "West, south, east, north in degrees.",
    },
    "devices": {**_NAMES, "maxItems": subscription.MOST_DEVICES},
    "status": {"anyOf": [_STATUS, {"type": "array", "items": _STATUS, "minItems": 1}]},
    "orders": {**_NAMES, "maxItems": subscription.MOST_ORDERS},
}
"""What a wish may hold; the code looks at it by hand, to name what is wrong."""
_DESCRIPTION: Final = (
    "Messages are text frames with JSON, told apart by `type`; on `/ws` a batch may also be a binary frame with "
    "MessagePack. The credential travels as `Authorization: Bearer ...`, as the session cookie, or as `auth` in the "
    "first message. With the subprotocol `fleetwire.v1.rows`, `snapshot` and `moved` have rows below columns in place "
    "of objects; with `fleetwire.v1.protobuf` they are binary frames as in `proto/feed.proto`. The HTTP part is "
    "described in [/openapi.json](/openapi.json)."
)


@get("/asyncapi.json", public=True, include_in_schema=False)
async def asyncapi_document(settings: NamedDependency[Settings]) -> Response[dict[str, Any]]:
    """The description as JSON."""
    return Response(document(settings), headers={"cache-control": "no-cache"})


def document(settings: Settings) -> dict[str, Any]:
    """The whole description of a server with these settings."""
    types = {kind: None for kinds in (*UP.values(), *DOWN.values()) for kind in kinds}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Fleetwire", "version": __version__, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "here": {
                "host": f"{settings.host}:{settings.port}",
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            }
        },
        "channels": {_CHANNELS[path][0]: _channel(path) for path in _CHANNELS},
        "operations": dict(
            operation for path in _CHANNELS for operation in (_operation(path, "receive"), _operation(path, "send"))
        ),
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in types},
            "schemas": _schemas(tuple(types)),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "Any credential."}},
        },
    }


def _channel(path: str) -> dict[str, Any]:
    _, title, description = _CHANNELS[path]
    names = dict.fromkeys(kind.__name__ for kind in (*UP[path], *DOWN[path]))
    return {
        "address": path,
        "title": title,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"ws": {"method": "GET"}},
        "x-subprotocols": list(dispatch_socket.SUBPROTOCOLS) if path == dispatch_socket.PATH else [],
        "x-close-codes": [_close_code(close) for close in Close],
    }


def _close_code(close: Close) -> dict[str, Any]:
    meaning = MEANINGS[close]
    return {
        "code": close.value,
        "reason": close.name.lower(),
        "why": meaning.why,
        "advice": meaning.advice,
        "may_reconnect": meaning.again_after_secs is not None,
        "reconnect_after_secs": meaning.again_after_secs,
    }


def _operation(path: str, action: str) -> tuple[str, dict[str, Any]]:
    """What the server does: it receives what goes up and sends what comes down."""
    channel = _CHANNELS[path][0]
    kinds = UP[path] if action == "receive" else DOWN[path]
    return f"{action}On{channel.capitalize()}", {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"} for kind in kinds],
    }


def type_of(kind: type[msgspec.Struct]) -> str:
    """What stands in a message's `type`."""
    return str(kind.__struct_config__.tag)


def _message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "name": type_of(kind),
        "title": kind.__name__,
        "summary": (kind.__doc__ or "").strip(),
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }


def _schemas(types: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    payloads = tuple(event_kinds.KINDS.values())
    _, schemas = msgspec.json.schema_components((*types, *payloads), ref_template="#/components/schemas/{name}")
    for wish in (subscription.Watch, subscription.Resume):
        schemas[wish.__name__]["properties"].update(_FILTER)
    for carrier in (event_messages.Publish, event_log.Event):
        # To the types a payload is any JSON; which one it is follows from the kind.
        properties = schemas[carrier.__name__]["properties"]
        properties["kind"] = {"enum": list(event_kinds.KINDS)}
        properties["payload"] = {"anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in payloads]}
    return schemas
