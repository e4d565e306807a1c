"""Batches on disk while the database is away: appended, fsynced, and only then acknowledged as `queued`.

    <folder>/spool.lock                 held by the worker that owns the folder
    <folder>/00000001.spool             magic, then records; the newest file is the one that grows
    <folder>/00000001.damaged           a drained file whose end could not be read, kept for a person to look at
    <folder>/00000001.refused           records that can never be stored, such as of a device over the limit

    record: length u32le | crc32 u32le of the payload | payload

A file is deleted when all its records are stored. Draining a file twice does no harm, since storing is idempotent;
so there is no position to keep, and none to lose. A record that fails its checksum ends its file: what comes after it
is skipped and counted, because where the next record would begin could only be guessed.
"""

import asyncio
import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import structlog

from fleetwire import metrics
from fleetwire.errors import ConfigError, Overloaded
from fleetwire.runtime.supervisor import SupervisedTask, supervise

_log = structlog.get_logger(__name__)

MAGIC = b"FWSPOOL1"
_HEAD = struct.Struct("<II")
CLOSE_SECS = 30.0  # a disk that takes longer for one append has not acknowledged it
ROTATE_BYTES = 16 * 1024 * 1024  # a file is read into memory as a whole when it is drained


class Spool:
    """A bounded queue of records in a folder. When it is full, batches are refused with 503 `spool_full`."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock: IO[bytes] | None = None
        self._file: IO[bytes] | None = None
        self._held_bytes = 0
        self._damaged: set[Path] = set()
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        # Held while the growing file is written or ended.
        self._writing = asyncio.Lock()
        self._appending: SupervisedTask | None = None
        self._closing = False

    def open(self) -> None:
        """Takes the folder and starts appending.

        Raises:
            ConfigError: another worker owns the folder, or it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / "spool.lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if self._lock is not None:
                self._lock.close()
            raise ConfigError(f"The spool folder {self._folder} cannot be used: {error}") from error
        self._held_bytes = sum(path.stat().st_size for path in self._files())
        metrics.SPOOL_BYTES.set(self._held_bytes)
        self._appending = supervise(
            self._append_next, name="spool", goes_on=lambda: bool(self._waiting) or not self._closing
        )

    async def close(self) -> None:
        """Lets go of the folder. What was acknowledged is on disk."""
        self._closing = True
        self._arrived.set()
        if self._appending is not None:
            await self._appending.wait(timeout_secs=CLOSE_SECS)
            await self._appending.stop()
        self._finish_file()
        if self._lock is not None:
            self._lock.close()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be drained."""
        return self._held_bytes == 0

    async def append(self, payload: bytes) -> None:
        """Returns when the record is on disk.

        Raises:
            Overloaded: `spool_full`, or `spool_failed` when the disk does not take it; nothing is kept then.
        """
        record = _record(payload)
        pending_bytes = sum(len(other) for other, _ in self._waiting)
        if self._held_bytes + pending_bytes + len(record) > self._max_bytes:
            metrics.SPOOL_REFUSED.inc()
            raise Overloaded("spool_full", "The database is away and the spool is full.", retry_after_secs=30)
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((record, written))
        self._arrived.set()
        await written

    async def closed_files(self) -> list[Path]:
        """Files to drain, oldest first; the growing one is ended, so that it is among them."""
        async with self._writing:
            self._finish_file()
            return self._files()

    def done(self, path: Path, *, refused: Iterable[bytes] = ()) -> None:
        """All records of the file are stored, but those that never can be: they are kept beside it. The file goes."""
        if kept := b"".join(_record(payload) for payload in refused):
            self._put_aside(path.with_suffix(".refused"), kept)
        self._held_bytes -= path.stat().st_size
        if path in self._damaged:
            path.rename(path.with_suffix(".damaged"))
            self._damaged.remove(path)
        else:
            path.unlink()
        metrics.SPOOL_BYTES.set(self._held_bytes)

    def _put_aside(self, path: Path, content: bytes) -> None:
        """On disk before the file that it comes from goes."""
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._sync_names()

    def records(self, path: Path) -> Iterator[bytes]:
        """The payloads of a file, up to its end or to the first one that is damaged."""
        content = path.read_bytes()
        at = len(MAGIC)
        if content[:at] != MAGIC:
            self._report_damage(path, content, 0)
            return
        while at < len(content):
            payload = _payload(content, at)
            if payload is None:
                self._report_damage(path, content, at)
                return
            yield payload
            at += _HEAD.size + len(payload)

    def _report_damage(self, path: Path, content: bytes, at: int) -> None:
        if path not in self._damaged:
            self._damaged.add(path)
            metrics.SPOOL_SKIPPED_BYTES.inc(len(content) - at)
            _log.error("A spool file is damaged; the rest of it is skipped.", file=path.name, at=at)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.spool"))

    async def _append_next(self) -> None:
        """One write and one fsync for all that waits: a loaded server makes large appends by itself."""
        await self._arrived.wait()
        self._arrived.clear()
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            async with self._writing:
                grown_bytes = await asyncio.to_thread(self._write, b"".join(record for record, _ in waiting))
                self._held_bytes += grown_bytes
        except BaseException as error:
            _log.error("The spool cannot be written.", error=str(error))
            refusal = Overloaded("spool_failed", "The database is away and the disk full.", retry_after_secs=30)
            for _, written in waiting:
                if not written.done():
                    written.set_exception(refusal)
            if not isinstance(error, OSError):
                raise
            return
        for _, written in waiting:
            if not written.done():
                written.set_result(None)
        metrics.SPOOL_BYTES.set(self._held_bytes)

    def _write(self, records: bytes) -> int:
        """Runs in a thread, one at a time; returns by how many bytes the folder grew."""
        grown_bytes = len(records)
        if self._file is None:
            self._file = self._begin_file()
            grown_bytes += len(MAGIC)
        file = self._file
        start = file.tell()
        try:
            unwritten = memoryview(records)
            while unwritten:
                unwritten = unwritten[os.write(file.fileno(), unwritten) :]
            os.fsync(file.fileno())
        except OSError:
            # Cut back, so that a half-written record does not end the file for those after it.
            file.truncate(start)
            file.seek(start)
            raise
        if file.tell() >= ROTATE_BYTES:
            self._finish_file()
        return grown_bytes

    def _begin_file(self) -> IO[bytes]:
        # What was put aside keeps its number: under the same one, a later file's would take its place.
        numbers = (int(path.stem) for path in self._folder.iterdir() if path.stem.isdecimal())
        file = (self._folder / f"{max(numbers, default=0) + 1:08}.spool").open("xb", buffering=0)
        file.write(MAGIC)
        self._sync_names()
        return file

    def _sync_names(self) -> None:
        """A name must survive a power cut as well as the content."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _finish_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _record(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _payload(content: bytes, at: int) -> bytes | None:
    """The payload of the record at `at`; None if it is torn or flipped."""
    if at + _HEAD.size > len(content):
        return None
    length, checksum = _HEAD.unpack_from(content, at)
    payload = content[at + _HEAD.size : at + _HEAD.size + length]
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None
