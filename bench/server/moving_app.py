"""Adds a moving fleet to the product's application, without ingest and store.

Ten thousand devices that move every second are ten thousand batches a second: receiving and storing them would use the
cores whose fan-out is measured. Here a task decodes and plans a fix per device as the commit queue does, and updates
the live positions as the writer does after a commit. A fix has the time of the update, so that a watcher on the same
machine can measure the delay.

BENCH_DEVICES is the number of devices, BENCH_TENANT_ID their tenant (1, the first tenant of a new database).
"""

import asyncio
import os
import random

from fleetwire import app as product
from fleetwire._core import Batch, Decoder, Group, Recent, RowTypes
from fleetwire.engine import Engine
from fleetwire.live.state import Live
from fleetwire.runtime import asgi, clock
from fleetwire.runtime.tasks import cancel, spawn

SLICES_PER_SEC = 20
_NOWHERE = RowTypes(track_segment=0, moved_position=0, packed_int4=0)  # for rows that are never written
_FIRST_ID = 1 << 40  # above the ids of stored devices


class SimulatedMovement:
    """Moves every device once a second, one slice of the devices after the other."""

    def __init__(self, live: Live, *, tenant_id: int, devices: int) -> None:
        self._live = live
        self._tenant_id = tenant_id
        self._decoder = Decoder(max_fixes=1, future_millis=600_000)
        rng = random.Random(1)
        self._places = [(48 + rng.random(), 11 + rng.random()) for _ in range(devices)]
        for number in range(devices):
            live.meet(tenant_id, _FIRST_ID + number, f"moving-{number:05}")

    async def run(self) -> None:
        """Moves the devices until cancelled."""
        due_secs, part = clock.monotonic_secs(), 0
        while True:
            self._move(range(part, len(self._places), SLICES_PER_SEC))
            part = (part + 1) % SLICES_PER_SEC
            due_secs += 1 / SLICES_PER_SEC
            await asyncio.sleep(max(0.0, due_secs - clock.monotonic_secs()))

    def _move(self, numbers: range) -> None:
        if not numbers:
            return
        now_millis = clock.now_millis()
        north = now_millis % 1_000_000 * 1e-7
        group = Group([(self._tenant_id, _FIRST_ID + each, self._batch(each, now_millis, north)) for each in numbers])
        sealed = group.seal(
            last_fixed_millis=[None] * len(numbers),
            stored=[],
            recent=Recent(max_fixes=0),
            received_at_millis=now_millis,
            row_types=_NOWHERE,
        )
        self._live.advance(sealed)

    def _batch(self, number: int, now_millis: int, north: float) -> Batch:
        latitude, longitude = self._places[number]
        body = (
            f'{{"device":"moving-{number:05}","fixes":[{{"timestamp":{now_millis},"latitude":{latitude + north:.7f},'
            f'"longitude":{longitude:.7f},"accuracy":4.5,"altitude":519.3,"heading":{number % 360}.5,"speed":13.4}}]}}'
        )
        return self._decoder.json(body.encode(), now_millis=now_millis, earliest_millis=0)


class _MovingEngine(Engine):
    """Starts the movement with the product's engine."""

    async def start(self) -> None:
        """Starts the engine, then the movement."""
        await super().start()
        tenant_id, devices = int(os.environ.get("BENCH_TENANT_ID", "1")), int(os.environ["BENCH_DEVICES"])
        moving = spawn(SimulatedMovement(self.live, tenant_id=tenant_id, devices=devices).run(), name="bench-movement")
        self._exits.push_async_callback(cancel, moving)


def create_app() -> asgi.App:
    """Creates the application of a worker."""
    product.Engine = _MovingEngine  # type: ignore[misc]
    return product.create_app()
