"""The way of a batch, in order: who sends it, what it holds, which device it is, and then it is durable.

auth -> decode -> device -> store/writer -> (after the commit) live/state -> fanout/hub -> watch
"""

from fleetwire import clock, metrics
from fleetwire.access.principal import Principal
from fleetwire.errors import BatchError, Overloaded, Problem
from fleetwire.ingest.decode import JSON, Batch, BatchDecoder
from fleetwire.store.devices import Devices
from fleetwire.store.writer import Writer


class Receipt(NamedTuple):
    """What the sender is told: JSON, and whether it speaks of the database or of the spool."""

    body: bytes
    is_queued: bool = False


class Pipeline:
    """What both doors, HTTP and socket, do with a batch."""

    def __init__(self, *, decoder: BatchDecoder, devices: Devices, writer: Writer, outage: Outage | None) -> None:
        self._decoder = decoder
        self._devices = devices
        self._writer = writer
        self._outage = outage

    async def take(
        self, principal: Principal, body: bytes, *, media_type: str = JSON, encoding: str = "", door: str
    ) -> Receipt:
        """Stores one batch of `principal` and returns the receipt.

        Raises:
            Problem: nothing of the batch was stored; the code says why and whether to send it again.
        """
        started = clock.monotonic_secs()
        try:
            batch = self._decoder.decode(body, media_type=media_type, encoding=encoding)
            receipt = await self._store(principal, batch)
            if receipt is None:
                receipt = await self._keep(principal, batch, body, media_type=media_type, encoding=encoding)
        except Problem as problem:
            metrics.BATCHES.labels(door, "unavailable" if isinstance(problem, Overloaded) else "refused").inc()
            raise
        for code, count in batch.rejected_by_code().items() if batch.rejected else ():
            metrics.REJECTS.labels(code).inc(count)
        metrics.BATCHES.labels(door, "queued" if receipt.is_queued else "received").inc()
        metrics.RECEIPT_SECONDS.observe(clock.monotonic_secs() - started)
        return receipt
    async def _device_of(self, principal: Principal, batch: Batch) -> int:
        """A device token names its device; an ingest key speaks for all devices of its tenant."""
        if principal.device_id is not None and principal.device is not None:
            if batch.device not in {None, principal.device}:
                raise Problem("device_mismatch", "The token belongs to another device.", status=403)
            self._devices.meet(principal.tenant_id, principal.device_id, principal.device)
            return principal.device_id
        if batch.device is None:
            raise BatchError("device_missing", "An ingest key needs the batch to name its device.")
        return await self._devices.resolve(principal.tenant_id, batch.device)
