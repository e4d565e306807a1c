"""Which compression an answer gets, by what the client says it takes (RFC 9110, 12.5.3), and the compressors.

One place for kept answers, compressed once, and for streams, compressed as they go.
"""

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, Protocol, TypeAlias

import brotli
import zstandard

Encoding: TypeAlias = Literal["br", "zstd", "gzip", "identity"]

PREFERRED: Final[tuple[Encoding, ...]] = ("br", "zstd", "gzip", "identity")
"""The smallest first; the order among what a client takes equally."""
# Below this a packet is not saved, and the headers of the compression eat what it gains.
LEAST_BYTES: Final = 1024
MAX_HEADER_CHARS: Final = 512  # a longer Accept-Encoding is no browser's

# Measured on live positions of 1,000 vehicles: one step more costs twice the time and gains a twentieth.
BROTLI_QUALITY: Final = 4
ZSTD_LEVEL: Final = 3
GZIP_LEVEL: Final = 6
_GZIP_BITS: Final = 31  # the window, and 16 for the gzip header

_TEXTS: Final = ("text/", "application/json", "application/geo+json", "application/gpx+xml", "application/problem+json")
_MORE_TEXTS: Final = ("application/javascript", "application/manifest+json", "application/xml", "image/svg+xml")


class Compressor(Protocol):
    """Takes a body in pieces."""

    def feed(self, piece: bytes, *, is_due: bool) -> bytes:
        """What can be sent so far; with `is_due` everything fed can be read from what was returned."""

    def finish(self) -> bytes:
        """The rest."""


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Compressor(quality=BROTLI_QUALITY)

    def feed(self, piece: bytes, *, is_due: bool) -> bytes:
        done: bytes = self._inner.process(piece)
        return done + self._inner.flush() if is_due else done

    def finish(self) -> bytes:
        rest: bytes = self._inner.finish()
        return rest


class _Zstandard:
    def __init__(self) -> None:
        self._inner = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()

    def feed(self, piece: bytes, *, is_due: bool) -> bytes:
        done = self._inner.compress(piece)
        return done + self._inner.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) if is_due else done

    def finish(self) -> bytes:
        return self._inner.flush()


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_BITS)

    def feed(self, piece: bytes, *, is_due: bool) -> bytes:
        done = self._inner.compress(piece)
        return done + self._inner.flush(zlib.Z_SYNC_FLUSH) if is_due else done

    def finish(self) -> bytes:
        return self._inner.flush()


COMPRESSORS: Final[dict[Encoding, Callable[[], Compressor]]] = {"br": _Brotli, "zstd": _Zstandard, "gzip": _Gzip}


def compress(body: bytes, encoding: Encoding) -> bytes:
    """A whole body. 1 MB of positions takes 5 (zstd) to 40 (gzip) ms, the GIL is free meanwhile."""
    if encoding == "identity":
        return body
    compressor = COMPRESSORS[encoding]()
    return compressor.feed(body, is_due=False) + compressor.finish()


def is_text(content_type: bytes) -> bool:
    """Whether a body of that type gets smaller; pictures and fonts are compressed already."""
    return content_type.decode("latin-1").lower().startswith((*_TEXTS, *_MORE_TEXTS))


def negotiate(accept: bytes | None) -> tuple[Encoding | None, bool]:
    """The encoding to use, and whether the plain body would do as well.

    None and False: the client takes neither the plain body nor anything that can be made here.
    """
    if accept is None or len(accept) > MAX_HEADER_CHARS:
        return "identity", True
    return _negotiated(accept)


@lru_cache(maxsize=256)  # few browsers and programs, each with one spelling
def _negotiated(accept: bytes) -> tuple[Encoding | None, bool]:
    qualities: dict[str, float] = {}
    for part in accept.decode("latin-1").lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding:
            qualities["gzip" if coding == "x-gzip" else coding] = _quality(parameters)
    others = qualities.get("*")
    best: Encoding | None = None
    best_quality = 0.0
    for encoding in PREFERRED:
        quality = qualities.get(encoding, others)
        if quality is None:
            # What is not named is not taken, but for the plain body, which always is, after all that is named.
            quality = 1e-6 if encoding == "identity" else 0.0
        if quality > best_quality:
            best, best_quality = encoding, quality
    plain = qualities.get("identity", 1.0 if others is None else others)
    return best, plain > 0


def _quality(parameters: list[str]) -> float:
    """The weight: 1 if it is not given; one that cannot be read refuses, as the safe reading."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0.0 <= quality <= 1.0 else 0.0
    return 1.0
