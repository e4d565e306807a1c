"""Opens recorded traces: what a file is, and its rows as a stream.

    .gz?  by its first two bytes        CSV, GPX, GeoJSON?  by the first character, which the name must not contradict

Nothing is read ahead but the buffers of the decompressor and the parser.
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
from fleetwire.replay.rows import DAMAGE, Rows, TraceError, Unreadable

STDIN = "-"
GZIP_MAGIC = b"\x1f\x8b"
BUFFER_BYTES = 1 << 18
FORMATS = {".csv": "csv", ".gpx": "gpx", ".geojson": "geojson", ".json": "geojson"}


class TellsBytes(Protocol):
    """Is told how far the reading is."""

    def __call__(self, count: int, /) -> None:
        """`count` more bytes of the files were read."""


def read_files(files: Iterable[str], unreadable: Unreadable, *, merged: bool, on_bytes: TellsBytes) -> Rows:
    """Yields the rows of all files: one file after the other, or `merged` by time.

    Merging expects each file to ascend in time; where one does not, its late rows come late.

    Raises:
        TraceError: a file cannot be read; the rows before the fault have been yielded.
    """
    streams = [read_trace(file, unreadable, on_bytes) for file in files]
    if merged and len(streams) > 1:
        yield from merge(*streams, key=itemgetter(1))
        return
    for stream in streams:
        yield from stream


def read_trace(file: str, unreadable: Unreadable, on_bytes: TellsBytes = lambda _: None) -> Rows:
    """Yields the rows of one file in its order; what cannot be read of them is counted in `unreadable`.

    Raises:
        TraceError: the file is missing, damaged, or of no known format.
    """
    name = "standard input" if file == STDIN else file
    with _opened(file, name, on_bytes) as content:
        found = _format(content, file, name)
        stem = PurePath(file).name.removesuffix(".gz").rsplit(".", 1)[0]
        if found == "gpx":
            yield from read_gpx(cast("BinaryIO", content), name, stem, unreadable)
            return
        if found == "csv":
            yield from read_csv(content, name, unreadable)
            return
        with io.TextIOWrapper(content, encoding="utf-8-sig") as text:
            yield from read_geojson(text, name, stem, unreadable)


@contextmanager
def _opened(file: str, name: str, on_bytes: TellsBytes) -> "Iterator[io.BufferedReader[Any]]":
    """The file's content, unpacked."""
    try:
        raw = io.FileIO(sys.stdin.fileno() if file == STDIN else file, closefd=file != STDIN)
    except OSError as error:
        raise TraceError(name, 0, error.strerror or str(error)) from error
    with closing(io.BufferedReader(_Counted(raw, on_bytes), BUFFER_BYTES)) as packed:
        try:
            magic = packed.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)]
        except OSError as error:
            raise TraceError(name, 0, error.strerror or str(error)) from error
        if magic != GZIP_MAGIC:
            yield packed
            return
        with gzip.GzipFile(fileobj=packed) as unpacked, io.BufferedReader(cast("io.RawIOBase", unpacked)) as content:
            yield content


def _format(content: "io.BufferedReader[Any]", file: str, name: str) -> str:
    try:
        head = content.peek(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except DAMAGE as error:
        raise TraceError(name, 1, str(error)) from error
    found = {b"<": "gpx", b"{": "geojson"}.get(head, "csv")
    named = FORMATS.get(PurePath(file.removesuffix(".gz")).suffix.lower())
    if not head:
        raise TraceError(name, 1, "the file is empty")
    if named is not None and named != found:
        raise TraceError(name, 1, f"the name says {named}, the content looks like {found}")
    return found


class _Counted(io.RawIOBase):
    """A raw file that tells how many bytes were taken from it."""

    def __init__(self, raw: io.FileIO, on_bytes: TellsBytes) -> None:
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
