"""Stores what the spool holds, device by device, around those that cannot be stored at the moment.

    file -> batches by device -> runs of a device's batches, as one -> store/writer -> what is left of the file

Of each device the batches are stored in the order in which they were acknowledged, several at once. Only an error of
the batch itself puts it aside, by a closed list (`fault_of_batch`). After any other its device is held back for the
rest of the pass, with all that follows, and the others go on.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import structlog

from fleetwire.errors import FleetwireError, Problem
from fleetwire.ingest import spool_file, spooled_batch
from fleetwire.ingest.decode import Batch
from fleetwire.ingest.spool_folder import SpoolFolder
from fleetwire.ingest.spooled_batch import DeviceKey, SpooledBatch
from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire
from fleetwire.store.devices import Devices
from fleetwire.store.writer import Writer
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("ingest/spool")

DEVICES_AT_ONCE: Final = 64  # the writer makes groups of them
RUN_FIXES: Final = 2_000  # of a device at once; a run that fails is shortened, down to one batch
REFUSED_CODES: Final = frozenset({"device_limit"})
OF_THE_DEVICE: Final = frozenset({"device_limit", "tenant_unknown"})
"""Codes that hold for all batches of a run."""
REFUSED_SQLSTATES: Final = frozenset({"22003", "22008", "22021", "22P05"})
"""Numbers and times out of range, text that the database's encoding does not have."""


class UnstorableError(FleetwireError):
    """A spooled batch is at fault itself. It never reaches a client, to whom the batch was acknowledged long before."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(slots=True)
class DrainPass:
    """One round through the spool."""

    is_outage: Callable[[DeviceKey | None, Exception], Awaitable[bool]]
    """Called after a failure, of a device or of all: whether it is the whole database's. Then the pass ends."""
    on_stored: Callable[[], object]
    held_back: dict[DeviceKey, str] = field(default_factory=dict)
    """Devices that failed, with the error's code or class."""
    tenants: dict[int, str | None] = field(default_factory=dict)
    """Names by number, as the database has them now."""
    gave_up: bool = False


@dataclass(slots=True)
class _Loaded:
    """A file, sorted by device."""

    skipped_bytes: int
    by_device: dict[DeviceKey, deque[SpooledBatch]]
    refused: list[SpooledBatch]
    unreadable: list[bytes]

    def refuse(self, device: DeviceKey, count: int, code: str, error: Exception) -> None:
        """Puts the oldest batches of a device aside, with the reason."""
        detail = error.detail if isinstance(error, Problem) else str(error)
        for _ in range(count):
            batch = self.by_device[device].popleft()
            self.refused.append(msgspec.structs.replace(batch, refusal=code, detail=detail))
        metrics.SPOOL_UNSTORABLE.inc(count)
        _log.error("Spooled batches cannot be stored and are put aside.", code=code, batches=count, error=repr(error))

    def left(self) -> Iterator[bytes]:
        """Yields what is not stored yet."""
        for batches in self.by_device.values():
            yield from map(spooled_batch.encode, batches)


class SpoolDrain:
    """Drains files of locked folders."""

    def __init__(self, *, pool: asyncpg.Pool, devices: Devices, writer: Writer) -> None:
        self._pool = pool
        self._devices = devices
        self._writer = writer
        self._run_fixes: dict[DeviceKey, int] = {}
        """Of devices that failed: how many fixes are tried at once next."""

    async def drain(self, folder: SpoolFolder, files: list[Path], drain_pass: DrainPass) -> None:
        """Stores files of a folder, oldest first, as far as they can be stored."""
        for path in files:
            if drain_pass.gave_up:
                return
            await self._drain_file(folder, path, drain_pass)
        if not drain_pass.held_back:
            self._run_fixes.clear()

    async def _drain_file(self, folder: SpoolFolder, path: Path, drain_pass: DrainPass) -> None:
        loaded = await asyncio.to_thread(_load, path)
        if loaded.skipped_bytes and folder.keep_damaged(path):
            metrics.SPOOL_SKIPPED_BYTES.inc(loaded.skipped_bytes)
            _log.error(
                "A spool file is damaged; the rest of it is skipped.",
                file=path.name,
                skipped_bytes=loaded.skipped_bytes,
            )
        if not await self._look_up_tenants(loaded, drain_pass):
            return
        count = sum(map(len, loaded.by_device.values()))
        # Those that failed before go last, so that they do not take the places of others.
        todo = iter(sorted(loaded.by_device, key=self._run_fixes.__contains__))

        async def drain_next() -> None:
            for device in todo:
                if not drain_pass.gave_up and device not in drain_pass.held_back:
                    await self._drain_device(device, loaded, drain_pass)

        async with asyncio.TaskGroup() as group:
            for _ in range(DEVICES_AT_ONCE):
                group.create_task(drain_next())
        left = sum(map(len, loaded.by_device.values()))
        if left == count and count and not loaded.skipped_bytes and not loaded.unreadable:
            return
        await asyncio.to_thread(_finish, folder, path, loaded)
        _log.info("A spool file was drained.", file=path.name, batches_left=left, refused=len(loaded.refused))

    async def _drain_device(self, device: DeviceKey, loaded: _Loaded, drain_pass: DrainPass) -> None:
        batches = loaded.by_device[device]
        while batches and not drain_pass.gave_up:
            most_fixes = self._run_fixes.get(device, RUN_FIXES)
            run = _first_run(batches, most_fixes)
            try:
                await self._store(device, run, drain_pass)
            except Exception as error:  # noqa: BLE001 - whatever it is, other devices go on, and nothing is dropped
                # Shortened, so that what is too much for one transaction, or wrong with one batch, shows.
                self._run_fixes[device] = 1 if len(run) == 1 else sum(batch.fix_count for batch in run) // 2
                fault = fault_of_batch(error)
                if fault is None:
                    await _hold_back(device, error, drain_pass)
                    return
                if len(run) == 1 or fault in OF_THE_DEVICE:
                    loaded.refuse(device, len(run), fault, error)
                continue
            for _ in run:
                batches.popleft()
            self._run_fixes.pop(device, None)
            drain_pass.on_stored()

    async def _look_up_tenants(self, loaded: _Loaded, drain_pass: DrainPass) -> bool:
        """Reads the names of the tenants of a file, once in a pass; returns False if the database is away."""
        wanted = {device.tenant_id for device in loaded.by_device} - drain_pass.tenants.keys()
        try:
            async with acquire(self._pool) as connection:
                names = dict(await connection.fetch(_SQL["tenant_names"], list(wanted)))
        except Exception as error:
            if not await drain_pass.is_outage(None, error):
                raise
            drain_pass.gave_up = True
            return False
        drain_pass.tenants.update({tenant_id: names.get(tenant_id) for tenant_id in wanted})
        return True

    async def _store(self, device: DeviceKey, run: list[SpooledBatch], drain_pass: DrainPass) -> None:
        try:
            batch = Batch.unpack([each.fixes for each in run])
        except ValueError as error:
            raise UnstorableError("batch_unreadable", str(error)) from error
        if drain_pass.tenants.get(device.tenant_id) != device.tenant:
            raise UnstorableError("tenant_unknown", "The tenant does not exist any more.")
        device_id = await self._devices.resolve(device.tenant_id, device.device)
        await self._writer.write(device.tenant_id, device_id, batch)


def fault_of_batch(error: BaseException) -> str | None:
    """Returns the code of an error that the batch itself causes, whatever becomes of the database; None for any other.

    The list is closed: what is not known to be the batch's fault may be the database's, and passes.
    """
    if isinstance(error, UnstorableError) or (isinstance(error, Problem) and error.code in REFUSED_CODES):
        return error.code
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, asyncpg.PostgresError) and cause.sqlstate in REFUSED_SQLSTATES:
            return f"sqlstate_{cause.sqlstate}"
        cause = cause.__cause__
    return None


async def _hold_back(device: DeviceKey, error: Exception, drain_pass: DrainPass) -> None:
    code = error.code if isinstance(error, Problem) else type(error).__name__
    drain_pass.held_back[device] = code
    _log.warning("Spooled batches of a device wait.", code=code, cause=repr(error.__cause__ or error))
    if not drain_pass.gave_up and await drain_pass.is_outage(device, error):
        drain_pass.gave_up = True


def _first_run(batches: deque[SpooledBatch], most_fixes: int) -> list[SpooledBatch]:
    """The oldest batches of a device: at least one, and no more fixes than that."""
    run: list[SpooledBatch] = []
    fixes = 0
    for batch in batches:
        fixes += batch.fix_count
        if run and fixes > most_fixes:
            break
        run.append(batch)
    return run


def _load(path: Path) -> _Loaded:
    """Runs in a thread: a file holds up to some hundred thousand batches."""
    contents = spool_file.read(path)
    loaded = _Loaded(contents.skipped_bytes, {}, [], [])
    for payload in contents.payloads:
        try:
            batch = spooled_batch.decode(payload)
        except msgspec.MsgspecError:
            loaded.unreadable.append(payload)
            metrics.SPOOL_UNSTORABLE.inc()
        else:
            loaded.by_device.setdefault(batch.key, deque()).append(batch)
    return loaded


def _finish(folder: SpoolFolder, path: Path, loaded: _Loaded) -> None:
    """What was refused is on disk before the file that it comes from goes."""
    refused = [*map(spooled_batch.encode, loaded.refused), *loaded.unreadable]
    if refused:
        folder.put_aside(refused)
    folder.replace(path, loaded.left())
