"""What an operator does with a spool's files, beside running servers or without one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from fleetwire.errors import FleetwireError
from fleetwire.ingest import spool_file, spooled_batch
from fleetwire.ingest.decode import Batch
from fleetwire.ingest.spool_folder import SpoolFile, files_of, slots
from fleetwire.ingest.spooled_batch import SpooledBatch

_KINDS = {"spool": "waiting", "refused": "refused", "damaged": "damaged"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FileRow(msgspec.Struct, frozen=True):
    """A file of the spool."""

    file: str
    """Its path in the spool, by which the other commands take it."""
    kind: str
    size_bytes: int
    batches: int
    fixes: int
    oldest_received_at: str | None
    newest_received_at: str | None
    unreadable_bytes: int


class BatchRow(msgspec.Struct, frozen=True):
    """A batch in a file of the spool."""

    tenant: str
    device: str
    received_at: str
    fixes: int
    first_day: str | None
    last_day: str | None
    """UTC days of its fixes; null if they cannot be read."""
    code: str | None
    detail: str | None
    """Why it was put aside."""


def list_files(root: Path) -> list[FileRow]:
    """Returns the files of all slots, in the order of slots and numbers."""
    return [_describe(root, file) for file in _files(root)]


def inspect(root: Path, name: str) -> list[BatchRow]:
    """Returns the batches of a file.

    Raises:
        FleetwireError: there is no such file.
    """
    batches, _ = _read(_find(root, name).path)
    return [_row(batch) for batch in batches]


def retry(root: Path, names: tuple[str, ...]) -> list[str]:
    """Gives files of refused batches back to the drain; all of them if none is named. Returns their new names.

    A running server stores them within seconds, otherwise the next one does; what is refused again is put aside again.

    Raises:
        FleetwireError: there is no such file, or it is none of refused batches; no file was given back then.
    """
    files = [_find(root, name) for name in names] if names else [f for f in _files(root) if f.kind == "refused"]
    for file in files:
        if file.kind != "refused":
            raise FleetwireError(f"{_name(root, file.path)} holds no refused batches, but is {_KINDS[file.kind]}.")
    given_back = []
    for file in files:
        # Its number is used by no other file, so that nothing is replaced.
        path = file.path.with_suffix(".spool")
        file.path.rename(path)
        given_back.append(_name(root, path))
    return given_back


def _files(root: Path) -> Iterator[SpoolFile]:
    if not root.is_dir():
        raise FleetwireError(f"There is no spool in {root}.")
    for folder in slots(root):
        yield from files_of(folder)


def _find(root: Path, name: str) -> SpoolFile:
    for file in _files(root):
        if _name(root, file.path) == name:
            return file
    raise FleetwireError(f"There is no file {name} in {root}; `fleetwire spool list` names them.")


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _read(path: Path) -> tuple[list[SpooledBatch], int]:
    """The batches of a file, and how many bytes of it cannot be read."""
    contents = spool_file.read(path)
    batches, unreadable_bytes = [], contents.skipped_bytes
    for payload in contents.payloads:
        try:
            batches.append(spooled_batch.decode(payload))
        except msgspec.MsgspecError:
            unreadable_bytes += len(payload)
    return batches, unreadable_bytes


def _describe(root: Path, file: SpoolFile) -> FileRow:
    batches, unreadable_bytes = _read(file.path)
    received_millis = [batch.received_at_millis for batch in batches]
    return FileRow(
        file=_name(root, file.path),
        kind=_KINDS[file.kind],
        size_bytes=file.size_bytes,
        batches=len(batches),
        fixes=sum(batch.fix_count for batch in batches),
        oldest_received_at=_iso(min(received_millis)) if received_millis else None,
        newest_received_at=_iso(max(received_millis)) if received_millis else None,
        unreadable_bytes=unreadable_bytes,
    )


def _row(batch: SpooledBatch) -> BatchRow:
    try:
        days = [(_EPOCH + timedelta(days=day)).date().isoformat() for day in Batch.unpack([batch.fixes]).days]
    except (ValueError, OverflowError):
        days = []
    return BatchRow(
        tenant=batch.tenant,
        device=batch.device,
        received_at=_iso(batch.received_at_millis),
        fixes=batch.fix_count,
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        code=batch.refusal,
        detail=batch.detail,
    )


def _iso(millis: int) -> str:
    return (_EPOCH + timedelta(milliseconds=millis)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
