"""Bytes of a request to a checked batch: media type, compression, then the core's decoder."""

import zlib
from typing import NamedTuple

from fleetwire._core import Batch, Decoder
from fleetwire.errors import BatchError, Problem
from fleetwire.runtime import clock
from fleetwire.settings import Settings
from fleetwire.store.retention import Retention

__all__ = ["Batch", "BatchDecoder", "Body"]

JSON = "application/json"
MSGPACK = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})


class Body(NamedTuple):
    """A batch as it came."""

    data: bytes
    media_type: str = JSON
    encoding: str = ""


class BatchDecoder:
    """Picks the format by media type. Holds no state but limits."""

    def __init__(self, settings: Settings, retention: Retention) -> None:
        self._core = Decoder(max_fixes=settings.max_fixes, future_millis=settings.future_secs * 1000)
        self._retention = retention
        self._max_body_bytes = settings.max_body_bytes

    def decode(self, body: Body, *, tenant_id: int, now_millis: int | None = None) -> Batch:
        """Decodes one batch of a tenant; its times are judged by `now_millis`, usually the clock.

        Raises:
            BatchError: the envelope cannot be read.
            Problem: the media type or the compression is not spoken here.
        """
        data = body.data
        if body.encoding not in {"", "identity"}:
            data = self._inflate(data, body.encoding)
        now_millis = clock.now_millis() if now_millis is None else now_millis
        earliest_millis = self._retention.earliest_millis(tenant_id, now_millis)
        kind = body.media_type
        if kind != JSON:
            kind = kind.partition(";")[0].strip().lower()
        if kind in {JSON, ""}:
            return self._core.json(data, now_millis=now_millis, earliest_millis=earliest_millis)
        if kind in MSGPACK:
            return self._core.msgpack(data, now_millis=now_millis, earliest_millis=earliest_millis)
        raise Problem(
            "content_type_unsupported",
            f"A batch is {JSON} or application/msgpack, not {kind}.",
            status=415,
        )

    def _inflate(self, data: bytes, encoding: str) -> bytes:
        if encoding != "gzip":
            raise Problem("content_encoding_unsupported", f"A body may be gzip, not {encoding}.", status=415)
        # The bound is on what comes out: a small body can hold a thousand times its size.
        stream = zlib.decompressobj(wbits=31)
        try:
            inflated = stream.decompress(data, self._max_body_bytes)
        except zlib.error as error:
            raise BatchError("body_gzip", "The body is not valid gzip.") from error
        if stream.unconsumed_tail:
            raise BatchError("body_too_large", f"The body holds more than {self._max_body_bytes} bytes.")
        if not stream.eof:
            raise BatchError("body_gzip", "The gzip body ends early.")
        if stream.unused_data:
            # Passed over in silence, a second batch appended to the first would be lost behind a good receipt.
            raise BatchError("body_gzip", "More follows the gzip body; send one gzip member.")
        return inflated
