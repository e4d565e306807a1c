"""Batches on disk while they cannot be stored: appended, fsynced, and only then acknowledged as `queued`.

    append -> waiting -> one write and fsync for all that waits -> slot-N/00000001.spool -> closed_files -> the drain

Each worker appends to a folder of its own, the first that no other process has locked. So workers need no numbers: a
successor at a reload takes another folder at once, and the folder of a worker that left, or of one that no longer
exists, is unlocked: whichever worker finds it first drains it.
"""

import asyncio
from pathlib import Path
from typing import IO, NamedTuple

import structlog

from fleetwire.errors import ConfigError, Overloaded
from fleetwire.ingest import spool_file
from fleetwire.ingest.spool_folder import SpoolFile, SpoolFolder, files_of, slot_paths, slots
from fleetwire.runtime import supervisor
from fleetwire.runtime.private_files import make_private_dir
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)

ROTATE_BYTES = 16 * 1024 * 1024  # a file is read into memory as a whole when it is drained
CLOSE_SECS = 10.0  # for the write under way at a stop


class SpoolUse(NamedTuple):
    """The files of all workers' folders at one moment."""

    waiting: list[SpoolFile]
    aside: list[SpoolFile]
    """Refused or damaged: they wait for a person."""

    @property
    def size_bytes(self) -> int:
        """Bytes of them all."""
        return sum(file.size_bytes for file in (*self.waiting, *self.aside))


class Spool:
    """A bounded queue of records on disk. When it is full, batches are refused with 503 `spool_full`.

    The bound holds for the folders of all workers together, and for what is put aside as well. What other workers
    append is seen at the next `measure`.
    """

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self.use = SpoolUse([], [])
        """As it was last measured."""
        self._own: SpoolFolder | None = None
        self._file: IO[bytes] | None = None
        self._held_bytes = 0  # as measured, and what was appended since
        self._appended_bytes = 0
        self._pending_bytes = 0  # of records that are not on disk yet
        self._pending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        # Held while the growing file is written or ended.
        self._writing = asyncio.Lock()
        self._appending: SupervisedTask | None = None
        self._closing = False

    def open(self) -> None:
        """Takes a folder and starts appending.

        Raises:
            ConfigError: the spool cannot be written.
        """
        try:
            make_private_dir(self._root)
            self._own = next(folder for path in slot_paths(self._root) if (folder := SpoolFolder.claim(path)))
        except (OSError, StopIteration) as error:
            raise ConfigError(f"The spool folder {self._root} cannot be used: {error}") from error
        self.use = _look(self._root)
        self._held_bytes = self.use.size_bytes
        if unread := sorted(path.name for path in self._root.glob("*.spool")):
            _log.error("The spool has files of an earlier build, which alone can drain them.", files=unread)
        self._appending = supervise(
            self._append_next, name="spool-append", goes_on=lambda: not self._closing or bool(self._pending)
        )

    async def close(self) -> None:
        """Lets go of the folder. What was acknowledged is on disk."""
        self._closing = True
        self._arrived.set()
        if self._appending is not None:
            await self._appending.wait(timeout_secs=CLOSE_SECS)
            await supervisor.stop(self._appending)
        self._finish_file()
        if self._own is not None:
            self._own.release()

    async def measure(self) -> SpoolUse:
        """Looks at the folders of all workers."""
        appended_bytes = self._appended_bytes
        self.use = await asyncio.to_thread(_look, self._root)
        # What was appended while it looked is counted once or twice, and never missed.
        self._held_bytes = self.use.size_bytes + self._appended_bytes - appended_bytes
        metrics.SPOOL_BYTES.set(sum(file.size_bytes for file in self.use.waiting))
        metrics.SPOOL_ASIDE_BYTES.set(sum(file.size_bytes for file in self.use.aside))
        return self.use

    async def append(self, payload: bytes) -> None:
        """Returns when the record is on disk.

        Raises:
            Overloaded: `spool_full`, or `spool_failed` when the disk does not take it; nothing is kept then.
        """
        if self._closing:
            raise Overloaded("stopping", "The server is stopping; send the batch again.", retry_after_secs=2)
        record = spool_file.record(payload)
        if self._held_bytes + self._pending_bytes + len(record) > self._max_bytes:
            metrics.SPOOL_REFUSED.inc()
            raise Overloaded(
                "spool_full", "It cannot be stored now, and the spool is full; send it again.", retry_after_secs=30
            )
        written = asyncio.get_running_loop().create_future()
        self._pending.append((record, written))
        self._pending_bytes += len(record)
        self._arrived.set()
        await written

    @property
    def own(self) -> SpoolFolder:
        """The folder to which this worker appends."""
        if self._own is None:
            raise RuntimeError("The spool is not open.")
        return self._own

    async def closed_files(self) -> list[Path]:
        """Returns this worker's files to drain, oldest first; the growing one is ended, so that it is among them."""
        async with self._writing:
            self._finish_file()
            return self.own.waiting()

    def others_waiting(self) -> list[Path]:
        """Returns the folders of other slots in which files wait, as they were last measured."""
        return sorted({file.path.parent for file in self.use.waiting} - {self.own.path})

    async def _append_next(self) -> None:
        """Appends all that waits: a loaded server makes large appends by itself."""
        await self._arrived.wait()
        self._arrived.clear()
        pending, self._pending = self._pending, []
        if not pending:
            return
        records = b"".join(record for record, _ in pending)
        refusal: Overloaded | None = Overloaded(
            "spool_failed",
            "It cannot be stored now, and the spool cannot be written; send it again.",
            retry_after_secs=30,
        )
        try:
            async with self._writing:
                grown_bytes = await asyncio.to_thread(self._write, records)
            # Not in one expression with the await: it would overwrite what was measured meanwhile.
            self._held_bytes += grown_bytes
            self._appended_bytes += grown_bytes
            refusal = None
        except OSError as error:
            _log.error("The spool cannot be written.", error=str(error))
        finally:
            self._pending_bytes -= len(records)
            for _, written in pending:
                if not written.done():
                    written.set_result(None) if refusal is None else written.set_exception(refusal)

    def _write(self, records: bytes) -> int:
        """Runs in a thread, one at a time; returns by how many bytes the folder grew."""
        grown_bytes = len(records)
        if self._file is None:
            self._file = self._begin_file()
            grown_bytes += len(spool_file.MAGIC)
        file = self._file
        start = file.tell()
        try:
            spool_file.write(file, records)
        except OSError:
            # Cut back, so that a half-written record does not end the file for those after it.
            file.truncate(start)
            file.seek(start)
            raise
        if file.tell() >= ROTATE_BYTES:
            self._finish_file()
        return grown_bytes

    def _begin_file(self) -> IO[bytes]:
        file = self.own.create("spool")
        try:
            spool_file.write(file, spool_file.MAGIC)
        except OSError:
            file.close()
            Path(file.name).unlink()
            raise
        return file

    def _finish_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _look(root: Path) -> SpoolUse:
    found = [file for folder in slots(root) for file in files_of(folder)]
    return SpoolUse([file for file in found if file.kind == "spool"], [file for file in found if file.kind != "spool"])
