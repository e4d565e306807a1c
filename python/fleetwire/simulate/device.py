"""Simulates one driver app: samples fixes, buffers them, sends batches and retries them until there is a receipt.

sampling:  every second   vehicle.step -> phone.fix -> outbox.add
sending:   every few s    in a dead zone, after the first batch: disconnect, continue buffering
                          else outbox.next_batch -> transport.send
                               receipt           -> acknowledge; a share of the batches is sent again
                               temporary failure -> backoff, same batch again
                               refusal           -> count, discard; a refused token ends the fleet
"""

import asyncio
import random
from dataclasses import dataclass, field

import structlog

from fleetwire.client import BatchReceipt, is_temporary, retry_delay_secs
from fleetwire.errors import Problem
from fleetwire.runtime.clock import monotonic_secs, now_millis
from fleetwire.simulate.outbox import DeviceOutbox, PendingBatch
from fleetwire.simulate.phone import DeadZones, Phone
from fleetwire.simulate.transport import Transport
from fleetwire.simulate.vehicle import Vehicle

FIRST_SEND_SAMPLES = 1.5
SEND_JITTER = 0.4  # share of the interval by which it varies, so that devices do not send at the same moment
SUSPENDED_SECS = 30.0  # a longer gap between two samples means a suspended machine: the missed samples are skipped

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class FleetCounts:
    """Counters over all devices of a fleet."""

    sampled: int = 0
    batches: int = 0
    """Receipts, including those of repeats."""
    stored: int = 0
    duplicate: int = 0
    queued: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Rejected fixes by code."""
    bursts: int = 0
    """Batches that were delayed by a dead zone."""
    repeated: int = 0
    """Batches sent again after their receipt."""
    retries: int = 0
    """Attempts that failed for a temporary reason."""
    refused: int = 0
    """Fixes in batches that the server refused as a whole."""

    def add(self, receipt: BatchReceipt) -> None:
        """Counts one receipt."""
        self.batches += 1
        self.stored += receipt.stored
        self.duplicate += receipt.duplicate
        self.queued += receipt.queued
        for code, count in receipt.rejected.items():
            self.rejected[code] = self.rejected.get(code, 0) + count


class SimulatedDevice:
    """Runs the driver app of one vehicle."""

    def __init__(
        self,
        *,
        name: str,
        vehicle: Vehicle,
        phone: Phone,
        zones: DeadZones,
        transport: Transport,
        outbox: DeviceOutbox,
        counts: FleetCounts,
        rng: random.Random,
        sample_secs: float,
        send_secs: float,
        repeat_share: float,
    ) -> None:
        self.name = name
        self.vehicle = vehicle
        self.outbox = outbox
        self._phone = phone
        self._zones = zones
        self._transport = transport
        self._counts = counts
        self._rng = rng
        self._sample_secs = sample_secs
        self._send_secs = send_secs
        self._repeat_share = repeat_share
        self._fixed_at_millis = 0
        self._was_offline = False
        # Locked while a batch is in flight: the flush at the end waits for its receipt instead of sending it twice.
        self._sending = asyncio.Lock()

    @property
    def is_offline(self) -> bool:
        """Returns whether the vehicle is in a dead zone."""
        return self._zones.contain(self.vehicle.position)

    async def drive(self) -> None:
        """Samples fixes until cancelled."""
        due_secs = monotonic_secs()
        while True:
            self.sample(now_millis())
            due_secs += self._sample_secs
            late_secs = monotonic_secs() - due_secs
            if late_secs > SUSPENDED_SECS:
                due_secs += late_secs
            await asyncio.sleep(max(0.0, -late_secs))

    def sample(self, at_millis: int) -> None:
        """Moves the vehicle for one interval and buffers a fix; skips the fix if the clock has not advanced."""
        self.vehicle.step(self._sample_secs)
        fix = self._phone.fix(self.vehicle, at_millis=at_millis, since_secs=self._sample_secs)
        if at_millis <= self._fixed_at_millis:
            return
        self._fixed_at_millis = at_millis
        self._counts.sampled += 1
        self.outbox.add(fix)

    async def send_batches(self) -> None:
        """Sends batches at intervals until cancelled.

        Raises:
            Problem: the server refuses the token.
        """
        # The first batch ignores dead zones: drivers sign in where there is a network, and the whole fleet is on the
        # map within seconds.
        await asyncio.sleep(min(FIRST_SEND_SAMPLES * self._sample_secs, self._send_secs))
        await self._send_with_retries()
        while True:
            await asyncio.sleep(self._send_secs * self._rng.uniform(1 - SEND_JITTER, 1 + SEND_JITTER))
            if self.is_offline:
                self._was_offline = True
                await self._transport.close()
                continue
            await self._send_with_retries()

    async def flush(self) -> None:
        """Sends the buffered fixes without retries and ignores dead zones; may run beside `send_batches`."""
        async with self._sending:
            while (batch := self.outbox.next_batch()) is not None:
                try:
                    self._accept(batch, await self._transport.send(batch))
                except Problem:
                    return

    async def close(self) -> None:
        """Closes the transport."""
        await self._transport.close()

    async def _send_with_retries(self) -> None:
        attempt = 0
        while (delay_secs := await self._send_once(attempt)) is not None:
            await asyncio.sleep(delay_secs)
            attempt += 1

    async def _send_once(self, attempt: int) -> float | None:
        """Sends the next batch, if any; returns the seconds until its retry, or None if no retry is needed."""
        async with self._sending:
            batch = self.outbox.next_batch()
            if batch is None:
                return None
            try:
                receipt = await self._transport.send(batch)
            except Problem as problem:
                if is_temporary(problem):
                    self._counts.retries += 1
                    return retry_delay_secs(attempt, problem.retry_after_secs or 0, self._rng)
                self._discard(batch, problem)
                return None
            self._accept(batch, receipt)
            if self._rng.random() < self._repeat_share:
                await self._repeat(batch)
            return None

    def _accept(self, batch: PendingBatch, receipt: BatchReceipt) -> None:
        if receipt.fixes != len(batch.fixes):
            _log.error(
                "The receipt counts another number of fixes than the batch.",
                device=self.name,
                sent=len(batch.fixes),
                receipt=receipt,
            )
        self.outbox.acknowledge(batch)
        self._counts.add(receipt)
        self._counts.bursts += self._was_offline
        self._was_offline = False

    async def _repeat(self, batch: PendingBatch) -> None:
        """Sends an acknowledged batch again, like an app that lost the receipt; counts the answer."""
        self._counts.repeated += 1
        try:
            self._counts.add(await self._transport.send(batch))
        except Problem:
            self._counts.retries += 1

    def _discard(self, batch: PendingBatch, problem: Problem) -> None:
        """Discards a batch that the server refuses; raises if the server refuses the token."""
        if problem.status == 401:  # noqa: PLR2004 - unauthorized: every batch of every device would be refused
            raise problem
        self.outbox.acknowledge(batch)
        self._counts.refused += len(batch.fixes)
        _log.error("The server refused a batch.", device=self.name, fixes=len(batch.fixes), **problem.members())
