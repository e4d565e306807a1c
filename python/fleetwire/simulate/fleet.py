"""Runs a simulated fleet: N devices in one event loop, with a periodic status line and a clean shutdown.

start      devices start one after the other over `start_secs`
run        two tasks per device (sampling, sending) until cancelled, `run_secs` passed, or the token is refused
shutdown   tasks are cancelled, buffered fixes are sent within `flush_secs`, connections are closed
"""

import asyncio
import random
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp
from rich.console import Console

from fleetwire.client import BatchClient
from fleetwire.errors import Problem
from fleetwire.runtime.clock import monotonic_secs
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.simulate.device import FleetCounts, SimulatedDevice
from fleetwire.simulate.options import SimulateOptions
from fleetwire.simulate.outbox import DeviceOutbox
from fleetwire.simulate.phone import DeadZones, Phone
from fleetwire.simulate.streets import Streets, build_streets
from fleetwire.simulate.transport import HttpTransport, SocketTransport, Transport
from fleetwire.simulate.vehicle import Vehicle

HTTP_CONNECTIONS = 32  # shared by all HTTP devices: a receipt takes milliseconds, and each posts every few seconds


async def simulate(options: SimulateOptions) -> FleetCounts:
    """Runs a fleet until it is cancelled or `run_secs` have passed.

    On cancellation the devices first send their buffered fixes for up to `flush_secs`.

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
    """Starts and stops the devices of a fleet; an async context manager that owns their connections."""

    def __init__(self, options: SimulateOptions) -> None:
        self._options = options
        self._console = Console(stderr=True)
        self._streets: Streets = build_streets(
            seed=options.seed, centre_lat_deg=options.centre_lat_deg, centre_lon_deg=options.centre_lon_deg
        )
        self._zones = DeadZones(self._streets, seed=options.seed, count=options.dead_zones)
        self._client = BatchClient(options.url, options.token, connections=HTTP_CONNECTIONS)
        self._session: aiohttp.ClientSession | None = None
        self._open = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._senders: list[asyncio.Task[None]] = []
        self._began_secs = monotonic_secs()
        self._refusal: Problem | None = None
        self.devices: list[SimulatedDevice] = []
        self.counts = FleetCounts()

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
        """Starts the devices and waits until the run ends; see `simulate`."""
        self._began_secs = monotonic_secs()
        self._tasks.append(spawn(self._start(), name="simulate-start"))
        if self._options.print_every_secs:
            self._tasks.append(spawn(self._print_periodically(), name="simulate-print"))
        ends_secs = None if self._options.run_secs is None else self._began_secs + self._options.run_secs
        while ends_secs is None or monotonic_secs() < ends_secs:
            # Collected again every second, because the lists grow while the devices start.
            running = [task for task in (*self._tasks, *self._senders) if not task.done()]
            await asyncio.wait(running, timeout=_up_to_a_second(ends_secs), return_when=asyncio.FIRST_EXCEPTION)
            for task in running:
                if task.done():
                    task.result()
            if self._refusal is not None:
                raise self._refusal

    async def flush(self) -> None:
        """Stops sampling and sends the buffered fixes, for up to `flush_secs`."""
        await _cancel_all(self._tasks)
        if self.devices:
            flushes = [spawn(device.flush(), name=f"simulate-flush-{device.name}") for device in self.devices]
            await asyncio.wait(flushes, timeout=self._options.flush_secs)
            await _cancel_all(flushes)
        # Last: a sender cancelled while a batch is in flight would not learn whether it was stored.
        await _cancel_all(self._senders)
        if self._options.print_every_secs:
            self._print_status()

    def status_line(self) -> str:
        """Formats the counters of the fleet as one line."""
        counts = self.counts
        moving = sum(device.vehicle.speed_mps > 0 for device in self.devices)
        minutes, secs = divmod(int(monotonic_secs() - self._began_secs), 60)
        parts = {
            "vehicles": len(self.devices),
            "moving": moving,
            "offline": sum(device.is_offline for device in self.devices),
            "stored": counts.stored,
            "duplicate": counts.duplicate,
            "rejected": sum(counts.rejected.values()),
            "buffered": sum(device.outbox.unacknowledged for device in self.devices),
            "bursts": counts.bursts,
            "repeated": counts.repeated,
            "retries": counts.retries,
        }
        # Counters of faults are shown only when they are not zero.
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
            self._senders.append(spawn(self._send(device), name=f"simulate-send-{device.name}"))
            await asyncio.sleep(options.start_secs / options.vehicles)

    async def _send(self, device: SimulatedDevice) -> None:
        try:
            await device.send_batches()
        except Problem as problem:
            # Passed to `run` instead of failing the task: each of a hundred devices would be reported as a failure.
            self._refusal = self._refusal or problem

    def _device(self, number: int, *, via_socket: bool) -> SimulatedDevice:
        options = self._options
        name = f"{options.device_prefix}{number}"
        seed = options.seed * 1_000_003 + number
        return SimulatedDevice(
            name=name,
            vehicle=Vehicle(self._streets, seed=seed),
            phone=Phone(self._streets, seed=seed),
            zones=self._zones,
            transport=self._transport(name, via_socket=via_socket),
            outbox=DeviceOutbox(max_fixes=options.max_buffered_fixes),
            counts=self.counts,
            rng=random.Random(seed),  # noqa: S311 - it is the jitter of the sending
            sample_secs=options.sample_secs,
            send_secs=options.send_secs,
            repeat_share=options.repeat_share,
        )

    def _transport(self, name: str, *, via_socket: bool) -> Transport:
        if not via_socket:
            return HttpTransport(self._client, device=name)
        if self._session is None:
            raise RuntimeError("The fleet is used outside of its context.")
        return SocketTransport(self._session, url=self._options.url, token=self._options.token, device=name)

    async def _print_periodically(self) -> None:
        while True:
            await asyncio.sleep(self._options.print_every_secs)
            self._print_status()

    def _print_status(self) -> None:
        self._console.print(self.status_line(), highlight=False, soft_wrap=True)


async def _cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*(cancel(task) for task in tasks))
    tasks.clear()


def _spread(count: int, share: float) -> list[bool]:
    """Returns `count` booleans of which `share` are true, evenly spread."""
    return [int((index + 1) * share) > int(index * share) for index in range(count)]


def _up_to_a_second(ends_secs: float | None) -> float:
    """Returns the seconds until the end of the run, at most 1."""
    return 1.0 if ends_secs is None else min(1.0, max(0.0, ends_secs - monotonic_secs()))
