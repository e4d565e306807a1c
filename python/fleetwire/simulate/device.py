"""One simulated driver's app: it samples, keeps, sends, and sends again what got no receipt.

sampling:  every second   vehicle.step -> phone.fix -> outbox.push
sending:   every few s    in a dead zone, after the first batch: hang up, keep
                          else outbox.take -> link.send -> receipt: settle, now and then send it once more
                                                        -> passing failure: wait (longer each time), same batch again
                                                        -> refusal: count, forget; a refused token ends the fleet
"""

import asyncio
import random
from dataclasses import dataclass, field

import structlog

from fleetwire.client import Receipt, is_temporary, wait_secs
from fleetwire.clock import monotonic_secs, now_millis
from fleetwire.errors import Problem
from fleetwire.simulate.link import Link
from fleetwire.simulate.outbox import Batch, Outbox
from fleetwire.simulate.phone import DeadZones, Phone
from fleetwire.simulate.vehicle import Vehicle

FIRST_SEND_SAMPLES = 1.5
SEND_SPREAD = 0.4  # share of the interval by which it varies, so that a fleet does not send in step
ASLEEP_SECS = 30.0  # a longer gap between two samples is a machine that slept: the vehicle did not drive meanwhile

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """What the devices of a fleet did, all together."""

    sampled: int = 0
    batches: int = 0
    """Receipts, those for repeats included."""
    stored: int = 0
    duplicate: int = 0
    queued: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """By code."""
    bursts: int = 0
    """Batches that waited in a dead zone."""
    repeated: int = 0
    """Batches sent once more after their receipt."""
    retries: int = 0
    """Tries that failed for a passing reason."""
    refused: int = 0
    """Fixes of batches that the server refused as a whole."""

    def add(self, receipt: Receipt) -> None:
        """Counts one receipt."""
        self.batches += 1
        self.stored += receipt.stored
        self.duplicate += receipt.duplicate
        self.queued += receipt.queued
        for code, count in receipt.rejected.items():
            self.rejected[code] = self.rejected.get(code, 0) + count


class Device:
    """The app on one phone."""

    def __init__(
        self,
        *,
        name: str,
        vehicle: Vehicle,
        phone: Phone,
        zones: DeadZones,
        link: Link,
        outbox: Outbox,
        counts: Counts,
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
        self._link = link
        self._counts = counts
        self._rng = rng
        self._sample_secs = sample_secs
        self._send_secs = send_secs
        self._repeat_share = repeat_share
        self._fixed_at_millis = 0
        self._was_dark = False
        # Held while a batch is under way: the flush at the end waits for its receipt instead of sending it twice.
        self._line = asyncio.Lock()

    @property
    def dark(self) -> bool:
        """Whether it has no network here."""
        return self._zones.cover(self.vehicle.position)

    async def drive(self) -> None:
        """Samples until it is cancelled."""
        due_secs = monotonic_secs()
        while True:
            self.sample(now_millis())
            due_secs += self._sample_secs
            late_secs = monotonic_secs() - due_secs
            if late_secs > ASLEEP_SECS:
                due_secs += late_secs
            await asyncio.sleep(max(0.0, -late_secs))

    def sample(self, at_millis: int) -> None:
        """Drives for one interval and keeps a fix of it; none if the clock did not go on."""
        self.vehicle.step(self._sample_secs)
        fix = self._phone.fix(self.vehicle, at_millis=at_millis, since_secs=self._sample_secs)
        if at_millis <= self._fixed_at_millis:
            return
        self._fixed_at_millis = at_millis
        self._counts.sampled += 1
        self.outbox.push(fix)

    async def report(self) -> None:
        """Sends until it is cancelled.

        Raises:
            Problem: the server refuses the token.
        """
        # The first batch goes out at once and from anywhere: drivers sign in where there is a network. So the whole
        # fleet is on the map within seconds.
        await asyncio.sleep(min(FIRST_SEND_SAMPLES * self._sample_secs, self._send_secs))
        await self._send_held()
        while True:
            await asyncio.sleep(self._send_secs * self._rng.uniform(1 - SEND_SPREAD, 1 + SEND_SPREAD))
            if self.dark:
                self._was_dark = True
                await self._link.close()
                continue
            await self._send_held()

    async def flush(self) -> None:
        """One try to send what is held, wherever the vehicle is; for the end of a run. `report` may still go on."""
        async with self._line:
            while (batch := self.outbox.take()) is not None:
                try:
                    self._settle(batch, await self._link.send(batch))
                except Problem:
                    return

    async def close(self) -> None:
        """Hangs up."""
        await self._link.close()

    async def _send_held(self) -> None:
        attempt = 0
        while (wait := await self._try_to_send(attempt)) is not None:
            await asyncio.sleep(wait)
            attempt += 1

    async def _try_to_send(self, attempt: int) -> float | None:
        """Sends the batch that is due, if any; returns how many seconds to wait before it has to be sent again."""
        async with self._line:
            batch = self.outbox.take()
            if batch is None:
                return None
            try:
                receipt = await self._link.send(batch)
            except Problem as problem:
                if is_temporary(problem):
                    self._counts.retries += 1
                    return wait_secs(attempt, problem.retry_after_secs or 0, self._rng)
                self._refused(batch, problem)
                return None
            self._settle(batch, receipt)
            if self._rng.random() < self._repeat_share:
                await self._repeat(batch)
            return None

    def _settle(self, batch: Batch, receipt: Receipt) -> None:
        if receipt.fixes != len(batch.fixes):
            _log.error("A receipt does not add up.", device=self.name, sent=len(batch.fixes), receipt=receipt)
        self.outbox.settle(batch)
        self._counts.add(receipt)
        self._counts.bursts += self._was_dark
        self._was_dark = False

    async def _repeat(self, batch: Batch) -> None:
        """As an app whose memory of the receipt was lost. Nothing depends on the answer."""
        self._counts.repeated += 1
        try:
            self._counts.add(await self._link.send(batch))
        except Problem:
            self._counts.retries += 1

    def _refused(self, batch: Batch, problem: Problem) -> None:
        """Forgets a batch that would be refused for ever, unless it is the token that is refused."""
        if problem.status == 401:  # noqa: PLR2004 - unauthorized: no batch of any device would pass
            raise problem
        self.outbox.settle(batch)
        self._counts.refused += len(batch.fixes)
        _log.error("The server refused a batch.", device=self.name, fixes=len(batch.fixes), **problem.members())
