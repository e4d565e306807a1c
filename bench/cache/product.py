"""The product's application with two empty routes beside its cached ones, for a comparison of the same kind.

`/bench/front` stands in front of the framework, where the cache stands, and asks nobody who is there.
`/bench/route` is an ordinary route of the framework with the same guard as the cached ones.
Both answer a constant of as many bytes as `?bytes=` says.
"""

from functools import cache
from typing import Any
from urllib.parse import parse_qs

from litestar import Litestar, Response, get

import fleetwire.app
from fleetwire import asgi, clock
from fleetwire.access.guards import requires
from fleetwire.api import create_api

FRONT = "/bench/front"
ROUTE = "/bench/route"
_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


@cache
def _body(size_bytes: int) -> bytes:
    return b'"' + b"x" * (size_bytes - 2) + b'"'


@get(ROUTE, guards=[requires("watch")])
async def _route(bytes: int) -> Response[bytes]:  # noqa: A002 - its name in the query
    return Response(_body(bytes), media_type="application/json")


def _with_route(*arguments: Any) -> Litestar:  # noqa: ANN401 - handed on
    api = create_api(*arguments)
    api.register(_route)
    return api


def create_app() -> asgi.App:
    """What a worker serves under the benchmark."""
    fleetwire.app.create_api = _with_route
    product = fleetwire.app.create_app()

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] == "http" and scope["path"] == FRONT:
            started_secs = clock.monotonic_secs()
            body = _body(int(parse_qs(scope["query_string"])[b"bytes"][0]))
            await asgi.respond(send, 200, body, headers=_HEADERS, started_secs=started_secs)
        else:
            await product(scope, receive, send)

    return app
