"""With `--spool`, batches outlive an outage of the database: kept on disk at once, stored when it is back.

A spooled batch is the body as it came, with who sent it and when: decoding it again gives the same fixes, because the
clock it is judged by is the time it was received. Its sender was told `queued` (202), not `stored`.
"""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import asyncpg
import msgspec
import structlog

from fleetwire import clock, metrics
from fleetwire.access.principal import Principal
from fleetwire.errors import Overloaded, Problem
from fleetwire.health import answers
from fleetwire.ingest.decode import Batch, BatchDecoder, Body
from fleetwire.store.devices import Devices
from fleetwire.store.spool import Spool
from fleetwire.store.writer import Writer
from fleetwire.tasks import cancel, spawn

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
        self._draining: asyncio.Task[None] | None = None
        # While it is on, batches go to the spool without trying the database first.
        self.is_on = False

    def start(self) -> None:
        """Opens the spool; what an earlier run left in it is drained.

        Raises:
            ConfigError: the folder cannot be used.
        """
        self._spool.open()
        self._draining = spawn(self._drain_forever(), name="spool-drain")

    async def stop(self) -> None:
        """Leaves what is not drained for the next start."""
        await cancel(self._draining)
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

    async def _drain_forever(self) -> None:
        while True:
            if (self.is_on or not self._spool.is_empty) and await answers(self._pool):
                self.is_on = False
                try:
                    await self._drain()
                except Overloaded as overloaded:
                    _log.warning("The spool is drained later.", code=overloaded.code)
            await asyncio.sleep(PROBE_SECS)

    async def _drain(self) -> None:
        for path in await self._spool.closed_files():
            stored = 0
            waiting: list[Awaitable[None]] = []
            for payload in self._spool.records(path):
                waiting.append(self._store(path, payload))
                stored += 1
                if len(waiting) == DRAINED_AT_ONCE:
                    await _all(waiting)
                    waiting = []
            await _all(waiting)
            self._spool.done(path)
            _log.info("A spool file is stored.", file=path.name, batches=stored)

    async def _store(self, path: Path, payload: bytes) -> None:
        kept = _KEPT.decode(payload)
        try:
            batch = self._decoder.decode(kept.body, now_millis=kept.received_at_millis)
            device_id = kept.device_id
            if device_id is None:
                device_id = await self._devices.resolve(kept.tenant_id, kept.device or "")
            await self._writer.write(kept.tenant_id, device_id, batch)
        except Overloaded:
            raise
        except Problem as problem:
            # Such as a device over the tenant's limit: it would fail for ever. It is put aside, not lost.
            metrics.SPOOL_UNSTORABLE.inc()
            self._spool.put_aside(path, payload)
            _log.error("A spooled batch cannot be stored.", code=problem.code, device=kept.device)


async def _all(waiting: list[Awaitable[None]]) -> None:
    """Waits for all, so that none goes on behind; then raises the first failure, if there was one."""
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
