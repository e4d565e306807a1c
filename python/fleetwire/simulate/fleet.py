"""The fleet: N devices in one event loop, a line about them now and then, and a clean end.

start   devices begin one after the other over `start_secs`
run     two tasks per device (sampling, sending) until cancelled, `run_secs` passed, or the token is refused
end     tasks are stopped, what is held is sent once more within `flush_secs`, connections are closed
"""

import asyncio
import random
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp
from rich.console import Console

from fleetwire.client import BatchClient
from fleetwire.clock import monotonic_secs
from fleetwire.errors import Problem
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.simulate.device import Counts, Device
from fleetwire.simulate.link import Link, PostLink, SocketLink
from fleetwire.simulate.options import SimulateOptions
from fleetwire.simulate.outbox import Outbox
from fleetwire.simulate.phone import DeadZones, Phone
from fleetwire.simulate.streets import Streets, build_streets
from fleetwire.simulate.vehicle import Vehicle

POST_CONNECTIONS = 32  # shared by all posting devices; a receipt takes milliseconds and each posts every few seconds


async def simulate(options: SimulateOptions) -> Counts:
    """Drives a fleet until it is cancelled or `run_secs` have passed.

    On cancellation the devices send what they hold for up to `flush_secs` before the cancellation goes on.

    Raises:
        Problem: the server refuses the token.
        ConfigError: the address or the token is malformed.
    """
    async with Fleet(options) as fleet:
        try:
            await fleet.run()
        finally:
            await fleet.flush()
        return fleet.counts


class Fleet:
    """An async context manager that holds the connections."""

    def __init__(self, options: SimulateOptions) -> None:
        self._options = options
        self._console = Console(stderr=True)
        self._streets: Streets = build_streets(
            seed=options.seed, centre_lat_deg=options.centre_lat_deg, centre_lon_deg=options.centre_lon_deg
        )
        self._zones = DeadZones(self._streets, seed=options.seed, count=options.dead_zones)
        self._client = BatchClient(options.url, options.token, connections=POST_CONNECTIONS)
        self._session: aiohttp.ClientSession | None = None
        self._open = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._senders: list[asyncio.Task[None]] = []
        self._began_secs = monotonic_secs()
        self._refusal: Problem | None = None
        self.devices: list[Device] = []
        self.counts = Counts()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._client)
        self._session = await self._open.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(device.close() for device in self.devices))
        await self._open.aclose()

    async def run(self) -> None:
        """Starts the devices and waits; see `simulate` for how it ends."""
        self._began_secs = monotonic_secs()
        self._tasks.append(spawn(self._start(), name="simulate-start"))
        if self._options.print_every_secs:
            self._tasks.append(spawn(self._print(), name="simulate-print"))
        ends_secs = None if self._options.run_secs is None else self._began_secs + self._options.run_secs
        while ends_secs is None or monotonic_secs() < ends_secs:
            # The lists grow while the devices start, so they are looked at anew every second.
            running = [task for task in (*self._tasks, *self._senders) if not task.done()]
            await asyncio.wait(running, timeout=_up_to_a_second(ends_secs), return_when=asyncio.FIRST_EXCEPTION)
            for task in running:
                if task.done():
                    task.result()
            if self._refusal is not None:
                raise self._refusal

    async def flush(self) -> None:
        """Stops driving and sends what is held, for up to `flush_secs`."""
        await _cancel_all(self._tasks)
        if self.devices:
            flushes = [spawn(device.flush(), name=f"simulate-flush-{device.name}") for device in self.devices]
            await asyncio.wait(flushes, timeout=self._options.flush_secs)
            await _cancel_all(flushes)
        # Only now: a sender that is stopped while a batch is under way does not learn whether it was stored.
        await _cancel_all(self._senders)
        if self._options.print_every_secs:
            self._print_line()

    def line(self) -> str:
        """The fleet in one line."""
        counts = self.counts
        moving = sum(device.vehicle.speed_mps > 0 for device in self.devices)
        minutes, secs = divmod(int(monotonic_secs() - self._began_secs), 60)
        parts = {
            "vehicles": len(self.devices),
            "moving": moving,
            "dark": sum(device.dark for device in self.devices),
            "stored": counts.stored,
            "duplicate": counts.duplicate,
            "rejected": sum(counts.rejected.values()),
            "held": sum(device.outbox.held for device in self.devices),
            "bursts": counts.bursts,
            "repeated": counts.repeated,
            "retries": counts.retries,
        }
        # Faults that should not occur are shown only when they do.
        rare = {
            "queued": counts.queued,
            "refused": counts.refused,
            "dropped": sum(device.outbox.dropped for device in self.devices),
        }
        shown = parts | {name: count for name, count in rare.items() if count}
        return f"fleet {minutes:02d}:{secs:02d}  " + "  ".join(f"{name} {count:,}" for name, count in shown.items())

    async def _start(self) -> None:
        options = self._options
        via_socket = _spread(options.vehicles, options.socket_share)
        for number in range(options.vehicles):
            device = self._device(number + 1, via_socket=via_socket[number])
            self.devices.append(device)
            self._tasks.append(spawn(device.drive(), name=f"simulate-drive-{device.name}"))
            self._senders.append(spawn(self._report(device), name=f"simulate-report-{device.name}"))
            await asyncio.sleep(options.start_secs / options.vehicles)

    async def _report(self, device: Device) -> None:
        try:
            await device.report()
        except Problem as problem:
            # Noted for `run` instead of failing the task: a hundred devices would each be reported as a failure.
            self._refusal = self._refusal or problem

    def _device(self, number: int, *, via_socket: bool) -> Device:
        options = self._options
        name = f"{options.device_prefix}{number}"
        seed = options.seed * 1_000_003 + number
        return Device(
            name=name,
            vehicle=Vehicle(self._streets, seed=seed),
            phone=Phone(self._streets, seed=seed),
            zones=self._zones,
            link=self._link(name, via_socket=via_socket),
            outbox=Outbox(max_fixes=options.held_fixes),
            counts=self.counts,
            rng=random.Random(seed),  # noqa: S311 - it spreads the sending
            sample_secs=options.sample_secs,
            send_secs=options.send_secs,
            repeat_share=options.repeat_share,
        )

    def _link(self, name: str, *, via_socket: bool) -> Link:
        if not via_socket:
            return PostLink(self._client, device=name)
        if self._session is None:
            raise RuntimeError("The fleet is used outside of its context.")
        return SocketLink(self._session, url=self._options.url, token=self._options.token, device=name)

    async def _print(self) -> None:
        while True:
            await asyncio.sleep(self._options.print_every_secs)
            self._print_line()

    def _print_line(self) -> None:
        self._console.print(self.line(), highlight=False, soft_wrap=True)


async def _cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*(cancel(task) for task in tasks))
    tasks.clear()


def _spread(count: int, share: float) -> list[bool]:
    """`share` of `count` are true, evenly spread."""
    return [int((index + 1) * share) > int(index * share) for index in range(count)]


def _up_to_a_second(ends_secs: float | None) -> float:
    return 1.0 if ends_secs is None else min(1.0, max(0.0, ends_secs - monotonic_secs()))
