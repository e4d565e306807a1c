"""A folder of the spool: its files by number and kind, and the lock of the worker that writes and drains them.

    <spool>/slot-1/spool.lock           locked by the worker that owns the slot
    <spool>/slot-1/00000001.spool       batches that wait to be stored
    <spool>/slot-1/00000002.refused     batches that cannot be stored, such as of a device over its tenant's limit
    <spool>/slot-1/00000003.damaged     a whole file whose end could not be read, for a person to look at

No number is used twice, so that a file never takes the place of another. Nobody but the server's user may read them:
they hold positions of people.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple, get_args

from fleetwire.errors import ConfigError
from fleetwire.ingest import spool_file
from fleetwire.runtime.private_files import make_private_dir, open_private

Kind = Literal["spool", "refused", "damaged"]
LOCK_NAME: Final = "spool.lock"
MAX_SLOTS: Final = 1_000
_KINDS: Final[dict[str, Kind]] = {f".{kind}": kind for kind in get_args(Kind)}
_SLOT: Final = re.compile(r"slot-(\d+)")


class SpoolFile(NamedTuple):
    """A file of the spool, as its folder lists it."""

    path: Path
    kind: Kind
    size_bytes: int
    changed_at_secs: float
    """Its last change, in seconds since 1970."""


class SpoolFolder:
    """A folder that this process has locked."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        """Use `claim` instead."""
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, path: Path) -> "SpoolFolder | None":
        """Locks a folder, which is made if it is missing; returns None if another process has it.

        Raises:
            OSError: it cannot be made or written.
        """
        make_private_dir(path)
        lock = open_private(path / LOCK_NAME, "ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        except OSError:
            lock.close()
            raise
        for left in path.glob("*.part"):
            left.unlink()
        return cls(path, lock)

    def release(self) -> None:
        """Unlocks the folder for the next owner."""
        self._lock.close()

    def waiting(self) -> list[Path]:
        """Returns the files to be stored, oldest first."""
        return [file.path for file in files_of(self.path) if file.kind == "spool"]

    def create(self, kind: Kind) -> IO[bytes]:
        """Creates the file with the next number, empty."""
        while True:
            numbers = (int(path.stem) for path in self.path.iterdir() if path.stem.isdecimal())
            path = self.path / f"{max(numbers, default=0) + 1:08}.{kind}"
            try:
                file = open_private(path, "xb")
            except FileExistsError:
                continue
            self._sync_names()
            return file

    def put_aside(self, payloads: Iterable[bytes]) -> Path:
        """Keeps batches that were refused; returns when they are on disk."""
        with self.create("refused") as file:
            spool_file.write(file, spool_file.content(payloads))
            return Path(file.name)

    def replace(self, path: Path, payloads: Iterable[bytes]) -> None:
        """Leaves only these records of a file; without any, the file is removed."""
        if left := list(payloads):
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            with open_private(part, "xb") as file:
                spool_file.write(file, spool_file.content(left))
            part.replace(path)
        else:
            path.unlink()
        self._sync_names()

    def keep_damaged(self, path: Path) -> bool:
        """Keeps a damaged file as it is beside the one that is drained; returns False if that was done before."""
        try:
            os.link(path, path.with_suffix(".damaged"))
        except FileExistsError:
            return False
        self._sync_names()
        return True

    def _sync_names(self) -> None:
        """Flushes the folder: a name must survive a power cut as well as the content."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_root(root: Path) -> None:
    """Makes the folder of a spool and tries to write there.

    Raises:
        ConfigError: it cannot be used.
    """
    try:
        make_private_dir(root)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise ConfigError(f"The spool folder {root} cannot be used: {error}") from error


def slots(root: Path) -> list[Path]:
    """Returns the folders of a spool in the order of their numbers; none if there is no spool."""
    try:
        found = [path for path in root.iterdir() if _SLOT.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: int(path.name.removeprefix("slot-")))


def slot_paths(root: Path) -> Iterator[Path]:
    """Yields the folders that a spool may have, in the order in which workers try them."""
    return (root / f"slot-{number}" for number in range(1, MAX_SLOTS + 1))


def files_of(folder: Path) -> list[SpoolFile]:
    """Returns the files of one folder in the order of their numbers. Needs no lock: a file that goes is left out."""
    found = []
    for path in sorted(folder.iterdir()):
        kind = _KINDS.get(path.suffix)
        if kind is not None and path.stem.isdecimal():
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found.append(SpoolFile(path, kind, stat.st_size, stat.st_mtime))
    return found
