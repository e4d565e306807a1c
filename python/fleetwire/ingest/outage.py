"""With `--spool`, batches outlive an outage of the database: kept on disk at once, stored when it is back.

A spooled batch is the body as it came, with who sent it and when: decoding it again gives the same fixes, because the
clock it is judged by is the time it was received. Its sender was told `queued` (202), not `stored`.
"""

import asyncio
import itertools

import asyncpg
import msgspec
import structlog

from fleetwire import clock, metrics
from fleetwire.access.principal import Principal
from fleetwire.errors import Overloaded
from fleetwire.health import answers
from fleetwire.ingest.decode import Batch, BatchDecoder, Body
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.store.devices import Devices
from fleetwire.store.spool import Spool
from fleetwire.store.writer import Writer

_log = structlog.get_logger(__name__)

PROBE_SECS = 0.5
DRAINED_AT_ONCE = 64  # batches given to the writer together; it makes groups of them


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """One spooled batch."""

    tenant_id: int
    device_id: int | None
    device: str | None
    received_at_millis: int
    body: Body


_KEPT: msgspec.msgpack.Decoder[Kept] = msgspec.msgpack.Decoder(Kept)


class Outage:
    """Keeps batches while the database is away and drains them when it is back."""

    def __init__(
        self, spool: Spool, *, pool: asyncpg.Pool, decoder: BatchDecoder, devices: Devices, writer: Writer
    ) -> None:
        self._spool = spool
        self._pool = pool
        self._decoder = decoder
        self._devices = devices
        self._writer = writer
        self._draining: SupervisedTask | None = None
        # While it is on, batches go to the spool without trying the database first.
        self.is_on = False

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
        await self._spool.close()

    async def keep(self, principal: Principal, batch: Batch, body: Body) -> bytes:
        """Puts a batch on disk and returns its receipt, which says `queued`.

        Raises:
            Overloaded: the spool is full or cannot be written.
        """
        kept = Kept(
            tenant_id=principal.tenant_id,
            device_id=principal.device_id,
            device=principal.device or batch.device,
            received_at_millis=clock.now_millis(),
            body=body,
        )
        await self._spool.append(msgspec.msgpack.encode(kept))
        metrics.SPOOL_QUEUED.inc(batch.accepted)
        return batch.queued_receipt()

    async def _drain_once(self) -> None:
        await asyncio.sleep(PROBE_SECS)
        if (self.is_on or not self._spool.is_empty) and await answers(self._pool):
            self.is_on = False
            await self._drain()

    async def _drain(self) -> None:
        for path in await self._spool.closed_files():
            refused: list[bytes] = []
            records = self._spool.records(path)
            while batches := list(itertools.islice(records, DRAINED_AT_ONCE)):
                outcomes = await asyncio.gather(*(self._store(payload) for payload in batches), return_exceptions=True)
                refused += _never_storable(batches, outcomes)
            self._spool.done(path, refused=refused)
            _log.info("A spool file is stored.", file=path.name, refused=len(refused))

    async def _store(self, payload: bytes) -> None:
        kept = _KEPT.decode(payload)
        batch = self._decoder.decode(kept.body, tenant_id=kept.tenant_id, now_millis=kept.received_at_millis)
        device_id = kept.device_id
        if device_id is None:
            device_id = await self._devices.resolve(kept.tenant_id, kept.device or "")
        await self._writer.write(kept.tenant_id, device_id, batch)


def _never_storable(payloads: list[bytes], outcomes: list[BaseException | None]) -> list[bytes]:
    """The batches that would fail for ever, such as those of a device over its tenant's limit: put aside, not lost.

    Raises:
        Overloaded: one of them failed for a reason that passes; all are tried again.
    """
    refused = []
    for payload, outcome in zip(payloads, outcomes, strict=True):
        if isinstance(outcome, Overloaded) and outcome.code != "store_failed":
            raise outcome
        if outcome is not None:
            metrics.SPOOL_UNSTORABLE.inc()
            _log.error("A spooled batch cannot be stored and is put aside.", error=repr(outcome))
            refused.append(payload)
    return refused
