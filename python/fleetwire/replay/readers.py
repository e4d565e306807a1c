"""Opens recorded traces, detects their format and yields their rows as a stream.

    gzip                 detected by the first two bytes
    CSV, GPX, GeoJSON    detected by the first character; a contradicting file name is an error

Only the decompressor and the parser buffer data.
"""

import gzip
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from heapq import merge
from operator import itemgetter
from pathlib import PurePath
from typing import Any, BinaryIO, Protocol, cast

from fleetwire.replay.csv_rows import read_csv
from fleetwire.replay.geojson import read_geojson
from fleetwire.replay.gpx import read_gpx
from fleetwire.replay.rows import READ_ERRORS, TraceError, TraceRows, UnreadableRows

STDIN = "-"
GZIP_MAGIC = b"\x1f\x8b"
BUFFER_BYTES = 1 << 18
FORMATS = {".csv": "csv", ".gpx": "gpx", ".geojson": "geojson", ".json": "geojson"}


class ByteCallback(Protocol):
    """Called with the number of bytes read, for the progress."""

    def __call__(self, count: int, /) -> None:
        """Receives the number of bytes since the last call."""


def read_files(files: Iterable[str], unreadable: UnreadableRows, *, merged: bool, on_bytes: ByteCallback) -> TraceRows:
    """Yields the rows of all files: one file after the other, or `merged` by time.

    Merging expects each file in ascending time; rows out of order within a file stay out of order.

    Raises:
        TraceError: a file cannot be read; the rows before the error have been yielded.
    """
    streams = [read_trace(file, unreadable, on_bytes) for file in files]
    if merged and len(streams) > 1:
        yield from merge(*streams, key=itemgetter(1))
        return
    for stream in streams:
        yield from stream


def read_trace(file: str, unreadable: UnreadableRows, on_bytes: ByteCallback = lambda _: None) -> TraceRows:
    """Yields the rows of one file in its order; counts rows with unreadable values in `unreadable`.

    Raises:
        TraceError: the file is missing, damaged, or of no known format.
    """
    name = "standard input" if file == STDIN else file
    with _opened(file, name, on_bytes) as content:
        file_format = _detect_format(content, file, name)
        stem = PurePath(file).name.removesuffix(".gz").rsplit(".", 1)[0]
        if file_format == "gpx":
            yield from read_gpx(cast("BinaryIO", content), name, stem, unreadable)
            return
        if file_format == "csv":
            yield from read_csv(content, name, unreadable)
            return
        with io.TextIOWrapper(content, encoding="utf-8-sig") as text:
            yield from read_geojson(text, name, stem, unreadable)


@contextmanager
def _opened(file: str, name: str, on_bytes: ByteCallback) -> "Iterator[io.BufferedReader[Any]]":
    """Opens a file and decompresses it if needed."""
    try:
        raw = io.FileIO(sys.stdin.fileno() if file == STDIN else file, closefd=file != STDIN)
    except OSError as error:
        raise TraceError(name, 0, error.strerror or str(error)) from error
    with closing(io.BufferedReader(_CountingFile(raw, on_bytes), BUFFER_BYTES)) as packed:
        try:
            magic = packed.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)]
        except OSError as error:
            raise TraceError(name, 0, error.strerror or str(error)) from error
        if magic != GZIP_MAGIC:
            yield packed
            return
        with gzip.GzipFile(fileobj=packed) as unpacked, io.BufferedReader(cast("io.RawIOBase", unpacked)) as content:
            yield content


def _detect_format(content: "io.BufferedReader[Any]", file: str, name: str) -> str:
    try:
        head = content.peek(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except READ_ERRORS as error:
        raise TraceError(name, 1, str(error)) from error
    found = {b"<": "gpx", b"{": "geojson"}.get(head, "csv")
    named = FORMATS.get(PurePath(file.removesuffix(".gz")).suffix.lower())
    if not head:
        raise TraceError(name, 1, "the file is empty")
    if named is not None and named != found:
        raise TraceError(name, 1, f"the name says {named}, the content looks like {found}")
    return found


class _CountingFile(io.RawIOBase):
    """Raw file that reports the number of bytes read."""

    def __init__(self, raw: io.FileIO, on_bytes: ByteCallback) -> None:
        self._raw = raw
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int | None:  # type: ignore[override]
        count = self._raw.readinto(buffer)
        self._on_bytes(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
