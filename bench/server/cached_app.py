"""Adds two empty routes to the product's application, to compare cached reads with.

`/bench/front` bypasses the framework, like the cache, and checks no credential.
`/bench/route` is a route of the framework with the same guard as the cached routes.
Both answer a constant of `?bytes=` bytes.
"""

from functools import cache
from typing import Any
from urllib.parse import parse_qs

from litestar import Litestar, Response, get

import fleetwire.app
from fleetwire.access.identity.guards import requires
from fleetwire.runtime import asgi, clock
from fleetwire.web.api import create_api

FRONT = "/bench/front"
ROUTE = "/bench/route"
_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


@cache
def _body(size_bytes: int) -> bytes:
    return b'"' + b"x" * (size_bytes - 2) + b'"'


@get(ROUTE, guards=[requires("watch")])
async def _route(bytes: int) -> Response[bytes]:  # noqa: A002 - name of the query parameter
    return Response(_body(bytes), media_type="application/json")


def _with_route(*arguments: Any) -> Litestar:  # noqa: ANN401 - passed on
    api = create_api(*arguments)
    api.register(_route)
    return api


def create_app() -> asgi.App:
    """Creates the application of a worker."""
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
