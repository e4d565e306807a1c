"""The product's application with one more hot route: it reads the body and answers a constant.

It stands where the hot route stands, in front of the framework, so that the two differ by what a batch costs and by
nothing else. The product's routes pay one more call for it.
"""

from fleetwire import asgi, clock
from fleetwire.app import create_app as create_product

PATH = "/bench/empty"
ANSWER = b'{"stored":50,"duplicate":0,"rejected":[]}'
_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


def create_app() -> asgi.App:
    """What a worker serves under the benchmark."""
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
    # Granian sends an empty message after the last bytes; waiting for it would make the empty answer dearer than it is.
    while read_bytes != length_bytes:
        message = await receive()
        read_bytes += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await asgi.respond(send, 200, ANSWER, headers=_HEADERS, started_secs=started_secs)
