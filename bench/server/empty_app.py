"""Adds an empty route to the product's application: it reads the body and answers a constant.

Like the ingest route it bypasses the framework, so that the two differ only by the cost of a batch. All other routes
pay one more function call.
"""

from fleetwire.app import create_app as create_product
from fleetwire.runtime import asgi, clock

PATH = "/bench/empty"
ANSWER = b'{"stored":50,"duplicate":0,"rejected":[]}'
_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


def create_app() -> asgi.App:
    """Creates the application of a worker."""
    product = create_product()

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await _answer(scope, receive, send)
        else:
            await product(scope, receive, send)

    return app


async def _answer(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    started_secs = clock.monotonic_secs()
    length_bytes = int(asgi.header(scope, b"content-length") or -1)
    read_bytes = 0
    # Granian sends an empty message after the last bytes; the product does not wait for it either.
    while read_bytes != length_bytes:
        message = await receive()
        read_bytes += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await asgi.respond(send, 200, ANSWER, headers=_HEADERS, started_secs=started_secs)
