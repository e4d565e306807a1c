"""With `--spool`, batches that cannot be stored in time wait on disk instead of at their senders.

    database answers          -> store -> too late, as under a lock -> spool
    outage: it does not store ->                                       spool, without trying first
    the drain                 -> probe while there is an outage -> spool_drain.py

An outage is a fact about the database: a write of the probe fails, or several devices fail by its disk or memory. One
device that is locked, or one group that is slow, is none: its batches go to the spool, all others are stored as before.
An outage ends when the probe succeeds and the first spooled batch is stored.
"""

import asyncio
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from fleetwire.access.identity.principal import Principal
from fleetwire.errors import Overloaded
from fleetwire.ingest import spooled_batch
from fleetwire.ingest.decode import Batch
from fleetwire.ingest.spool import Spool
from fleetwire.ingest.spool_drain import DrainPass, SpoolDrain
from fleetwire.ingest.spool_folder import SpoolFolder
from fleetwire.ingest.spooled_batch import DeviceKey, SpooledBatch
from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire
from fleetwire.runtime import clock, supervisor, tasks
from fleetwire.runtime.retry import Backoff
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.store.devices import Devices
from fleetwire.store.writer import Writer
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)
_SQL = statements.load("ingest/spool")

PROBE_SECS: Final = 0.5  # between two looks at the spool, and at the database while there is an outage
PROBE_TIMEOUT_SECS: Final = 1.0
MAX_PAUSE_SECS: Final = 5.0  # between two passes of the drain while some devices are held back
WARN_AFTER_SECS: Final = 60.0
OF_DISK_OR_MEMORY: Final = (asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError)
"""Classes 53 and 58: a full disk, files that cannot be read. The probe's small write may succeed beside them."""
SUSPECTS: Final = 3
"""Devices that must fail so, with nothing stored in between: a broken page of one of them is no outage."""


class SpoolFallback:
    """Puts batches on disk while they cannot be stored, and stores them later."""

    def __init__(self, spool: Spool, *, pool: asyncpg.Pool, devices: Devices, writer: Writer) -> None:
        self._spool = spool
        self._pool = pool
        self._drain = SpoolDrain(pool=pool, devices=devices, writer=writer)
        self._draining: SupervisedTask | None = None
        self._probing: asyncio.Task[bool] | None = None
        self._backoff = Backoff(first_secs=PROBE_SECS, max_secs=MAX_PAUSE_SECS)
        self._pause_secs = PROBE_SECS
        self._held_back: dict[str, int] = {}  # devices by the reason for which they wait
        self._held_back_since_secs: float | None = None
        self.suspects: set[tuple[int, str]] = set()
        """Devices (tenant, name) that failed by disk or memory since something was stored last."""
        self.is_outage = False
        """While it is set, batches go to the spool without trying the database first."""

    def start(self) -> None:
        """Opens the spool; what an earlier run left in it is drained.

        Raises:
            ConfigError: the folder cannot be used.
        """
        self._spool.open()
        self._draining = supervise(self._drain_once, name="spool-drain")

    async def stop(self) -> None:
        """Leaves what is not drained for the next start."""
        await supervisor.stop(self._draining)
        await tasks.cancel(self._probing)
        await self._spool.close()

    def note_failure(self, principal: Principal, batch: Batch, refusal: Overloaded) -> None:
        """Finds out in the background whether a batch that was not stored in time is a sign of an outage."""
        if _is_of_disk_or_memory(refusal):
            self._suspect((principal.tenant_id, _device(principal, batch)), refusal)
        else:
            _ = self._start_probe()

    def note_stored(self) -> None:
        """Something was stored, so the database's disk and memory serve."""
        self.suspects.clear()

    async def append(self, principal: Principal, batch: Batch) -> bytes:
        """Puts a batch on disk and returns its receipt, which says `queued`.

        Raises:
            Overloaded: the spool is full or cannot be written.
        """
        if batch.accepted:
            spooled = SpooledBatch(
                tenant_id=principal.tenant_id,
                tenant=principal.tenant,
                device=_device(principal, batch),
                received_at_millis=clock.now_millis(),
                fix_count=batch.accepted,
                fixes=batch.pack(),
            )
            await self._spool.append(spooled_batch.encode(spooled))
            metrics.SPOOL_QUEUED.inc(batch.accepted)
        return batch.queued_receipt()

    def warnings(self) -> list[str]:
        """Sentences for `/health`, as the spool was last seen."""
        found = []
        if self.is_outage:
            found.append("The database does not store; batches are put into the spool.")
        since_secs = self._held_back_since_secs
        if since_secs is not None and clock.monotonic_secs() - since_secs > WARN_AFTER_SECS:
            reasons = ", ".join(f"{count} {code}" for code, count in sorted(self._held_back.items()))
            waited_secs = clock.monotonic_secs() - since_secs
            found.append(f"Batches of devices have waited in the spool for {waited_secs:.0f} s ({reasons}).")
        if aside := self._spool.use.aside:
            size_bytes = sum(file.size_bytes for file in aside)
            found.append(
                f"{len(aside)} files of the spool ({size_bytes} bytes) are put aside: batches that were acknowledged "
                "and are not stored. `fleetwire spool list` shows them."
            )
        return found

    async def _drain_once(self) -> None:
        await asyncio.sleep(self._pause_secs)
        await self._spool.measure()
        if self.is_outage and not await self._probe():
            return
        drain_pass = DrainPass(is_outage=self._is_outage_by, on_stored=self._note_drained)
        # Left by workers that are gone, and so older than what this one has appended.
        for path in self._spool.others_waiting():
            await self._drain_abandoned(path, drain_pass)
        await self._drain.drain(self._spool.own, await self._spool.closed_files(), drain_pass)
        await self._spool.measure()
        self._note_held_back(drain_pass)
        if not drain_pass.gave_up:
            self._end_outage()

    async def _drain_abandoned(self, path: Path, drain_pass: DrainPass) -> None:
        folder = SpoolFolder.claim(path)
        if folder is None:
            return
        try:
            await self._drain.drain(folder, folder.waiting(), drain_pass)
        finally:
            folder.release()

    def _note_held_back(self, drain_pass: DrainPass) -> None:
        self._held_back = {}
        for code in drain_pass.held_back.values():
            self._held_back[code] = self._held_back.get(code, 0) + 1
        if self._held_back and not drain_pass.gave_up:
            self._held_back_since_secs = self._held_back_since_secs or clock.monotonic_secs()
            self._pause_secs = self._backoff.next_secs()
        else:
            self._held_back_since_secs = None
            self._backoff.reset()
            self._pause_secs = PROBE_SECS

    def _note_drained(self) -> None:
        self.note_stored()
        self._end_outage()

    async def _is_outage_by(self, device: DeviceKey | None, error: Exception) -> bool:
        """Not `is_outage`: that lasts until something is stored, which a locked device at the head may delay."""
        if device is not None and _is_of_disk_or_memory(error):
            return self._suspect((device.tenant_id, device.device), error)
        return not await self._probe()

    def _suspect(self, device: tuple[int, str], error: Exception) -> bool:
        self.suspects.add(device)
        if len(self.suspects) < SUSPECTS:
            return False
        self._set_outage(error)
        return True

    async def _probe(self) -> bool:
        # Shielded: others may wait for the same answer.
        return await asyncio.shield(self._start_probe())

    def _start_probe(self) -> "asyncio.Task[bool]":
        """Starts a probe if none is under way."""
        if self._probing is None or self._probing.done():
            self._probing = tasks.spawn(self._stores(), name="spool-probe")
        return self._probing

    async def _stores(self) -> bool:
        """Whether the database commits a small write in time; if not, there is an outage."""
        try:
            async with acquire(self._pool, limit_secs=PROBE_TIMEOUT_SECS) as connection:
                await connection.execute(_SQL["probe_store"])
        except Exception as error:  # noqa: BLE001 - whatever it says instead, it does not store
            self._set_outage(error)
            return False
        return True

    def _set_outage(self, error: BaseException) -> None:
        if not self.is_outage:
            self.is_outage = True
            _log.warning("The database does not store; batches go to the spool.", cause=repr(error.__cause__ or error))

    def _end_outage(self) -> None:
        if self.is_outage:
            self.is_outage = False
            _log.info("The database stores again.")


def _device(principal: Principal, batch: Batch) -> str:
    return principal.device or batch.device or ""


def _is_of_disk_or_memory(error: Exception) -> bool:
    return isinstance(error.__cause__ or error, OF_DISK_OR_MEMORY)
