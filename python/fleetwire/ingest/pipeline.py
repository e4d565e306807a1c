"""The way of a batch, in order: who sends it, may they, what it holds, which device it is, and then it is durable.

auth -> limit -> decode -> limit -> device -> store/writer -> (after the commit) live/state -> fanout/feed
database away: -> spooling -> spool
"""

from typing import Final, NamedTuple

from fleetwire.access.identity.principal import Principal
from fleetwire.errors import BatchError, Overloaded, Problem
from fleetwire.ingest.decode import Batch, BatchDecoder, Body
from fleetwire.ingest.limit import IngestLimit
from fleetwire.ingest.spooling import SpoolFallback
from fleetwire.postgres.incarnation import Incarnation
from fleetwire.runtime import clock
from fleetwire.store.devices import Devices
from fleetwire.store.writer import Writer
from fleetwire.telemetry import metrics

NOT_IN_TIME: Final = frozenset({"database_unavailable", "store_timeout"})
"""Refusals of batches that go to the spool where there is one; the others say what the sender must wait for."""


class RenderedReceipt(NamedTuple):
    """What the sender is told: JSON, and whether it speaks of the spool instead of the database."""

    json: bytes
    is_queued: bool = False


class Pipeline:
    """What both doors, HTTP and socket, do with a batch."""

    def __init__(
        self,
        *,
        decoder: BatchDecoder,
        limit: IngestLimit,
        devices: Devices,
        writer: Writer,
        spooling: SpoolFallback | None,
        incarnation: Incarnation,
    ) -> None:
        self._incarnation = incarnation
        self._decoder = decoder
        self._limit = limit
        self._devices = devices
        self._writer = writer
        self._spooling = spooling

    @property
    def generation(self) -> int:
        """The database whose numbers a principal has that is authenticated now."""
        return self._incarnation.generation

    def check_generation(self, generation: int) -> None:
        """Lets batches pass whose sender was authenticated in the database of now.

        Raises:
            Overloaded: 503 `store_failed`, it was replaced meanwhile.
        """
        if generation != self._incarnation.generation:
            raise Overloaded("store_failed", "The database was replaced; send it again.", retry_after_secs=1)

    async def take(self, principal: Principal, body: Body, *, door: metrics.TransportCounters) -> RenderedReceipt:
        """Stores one batch of `principal` and returns the receipt.

        Raises:
            Problem: nothing of the batch was stored; the code says why and whether to send it again.
        """
        started_secs = clock.monotonic_secs()
        try:
            batch = self._decoder.decode(body, tenant_id=principal.tenant_id)
            _check_device(principal, batch)
            self._limit.fixes(principal, batch, started_secs)
            receipt = await self._make_durable(principal, batch)
        except Problem as problem:
            door.unavailable.inc() if isinstance(problem, Overloaded) else door.refused.inc()
            raise
        door.queued.inc() if receipt.is_queued else door.received.inc()
        for code, count in batch.rejected_by_code().items() if batch.rejected else ():
            metrics.REJECTS.labels(code).inc(count)
        metrics.RECEIPT_SECONDS.observe(clock.monotonic_secs() - started_secs)
        return receipt

    async def _make_durable(self, principal: Principal, batch: Batch) -> RenderedReceipt:
        if self._spooling is None:
            return RenderedReceipt(await self._store(principal, batch))
        if not self._spooling.is_outage:
            try:
                receipt = await self._store(principal, batch)
            except Overloaded as refusal:
                if refusal.code not in NOT_IN_TIME:
                    raise
                self._spooling.note_failure(principal, batch, refusal)
            else:
                if self._spooling.suspects:
                    self._spooling.note_stored()
                return RenderedReceipt(receipt)
        return RenderedReceipt(await self._spooling.append(principal, batch), is_queued=True)

    async def _store(self, principal: Principal, batch: Batch) -> bytes:
        if principal.device_id is not None and principal.device is not None:
            self._devices.meet(principal.tenant_id, principal.device_id, principal.device)
            device_id = principal.device_id
        else:
            name = batch.device or ""
            known = self._devices.known(principal.tenant_id, name)
            if known is None:
                generation = self.generation
                device_id = await self._devices.resolve(principal.tenant_id, name)
                self.check_generation(generation)
            else:
                device_id = known
        return await self._writer.write(principal.tenant_id, device_id, batch)


def _check_device(principal: Principal, batch: Batch) -> None:
    """A device token names its device; an ingest key speaks for all devices of its tenant."""
    if principal.device is None and batch.device is None:
        raise BatchError("device_missing", "An ingest key needs the batch to name its device.")
    if principal.device is not None and batch.device not in {None, principal.device}:
        raise Problem("device_mismatch", "The token belongs to another device.", status=403)
