"""Runs the measurements of one repetition; those that are compared follow each other."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.ingest import bare_copy, day
from bench.ingest.database import Database
from bench.ingest.load import SAMPLE_SECS, LoadGenerator, LoadRun
from bench.ingest.options import IngestOptions

Figures = dict[str, Any]
Make = Callable[[], Awaitable[Figures]]
BATCH_FIXES = 50
HISTORY_BATCHES = 40
LATE_INTERVAL_MILLIS = 2_000
"""40 batches of 50 fixes at this interval are 67 minutes: a batch an hour late falls among stored ones."""
DUPLICATE_SHARE = 0.2
LATE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class IngestBench:
    """Runs the measurements against the product and the rival."""

    options: IngestOptions
    product: LoadGenerator
    database: Database
    dsn: str
    watch_token: str
    bench_dsn: str
    """Database of the bare COPY and the rival."""
    copy_streams: list[memoryview]
    rival: LoadGenerator | None
    rival_database: Database | None

    async def warm_up(self) -> None:
        """Creates the devices and fills caches before the measurements."""
        options = self.options
        for loader in (self.product, self.rival):
            if loader is not None:
                await loader.run(
                    "http", batches=3 * options.devices, batch_size=1, devices=options.devices, duration_secs=600
                )

    async def repetition(self, found: dict[str, Figures]) -> AsyncIterator[str]:
        """Runs every measurement once; stores its figures in `found` and yields its name."""
        for name, make in self._plan(found):
            if self.options.wants(name):
                found[name] = await make()
                yield name

    def _plan(self, found: dict[str, Figures]) -> Iterator[tuple[str, Make]]:
        options = self.options
        middle: Figures = {"connections": options.middle}
        yield "copy", lambda: bare_copy.measure(self.bench_dsn, self.copy_streams)
        for connections in options.connections:
            yield f"http50@{connections}", partial(self._stored, connections=connections)
            yield f"empty50@{connections}", partial(self._empty, connections=connections)
        yield "http1", partial(self._stored, batch_size=1, **middle)
        yield "empty1", partial(self._empty, batch_size=1, **middle)
        if self.rival is not None and self.rival_database is not None:
            rival = partial(self._rival, self.rival, self.rival_database, **middle)
            yield "rival50", rival
            yield "rival1", partial(rival, batch_size=1)
        yield "ws50", partial(self._stored, mode="ws", connections=options.sockets)
        yield "clean", self._clean
        yield "dirty", self._dirty
        yield "merged", self._merged
        yield "day", self._day
        if self.rival is not None and self.rival_database is not None:
            yield "rivalday", partial(self._rival_day, self.rival, self.rival_database)
        highest = max((found[name]["requests_per_sec"] for name in found if name.startswith("http50")), default=0)
        if highest:
            yield "half", partial(self._stored, connections=max(options.connections), rate=highest / 2)

    async def soak(self, connections: int) -> Figures:
        """Runs the highest rate for a long time, to measure the worker's memory."""
        return await self._stored(connections=connections, duration_secs=self.options.soak_secs)

    async def _clean(self) -> Figures:
        """Measures the load over a stored hour, to compare `_dirty` with."""
        await self.database.clear("track_segment, track_merged")
        batches = HISTORY_BATCHES * self.options.late_devices
        await self.product.run("http", **self._hour(), batches=batches, duration_secs=600)
        return await self._stored(append=True, **self._hour())

    async def _dirty(self) -> Figures:
        """Measures the same load with repeated and late batches; follows `_clean`."""
        return await self._stored(append=True, duplicate_share=DUPLICATE_SHARE, late_share=LATE_SHARE, **self._hour())

    async def _merged(self) -> Figures:
        """Measures the size of a stored hour after `fleetwire upkeep` has merged it."""
        await self.database.clear("track_segment, track_merged")
        batches = HISTORY_BATCHES * self.options.late_devices
        run = await self.product.run("http", **self._hour(), batches=batches, duration_secs=600)
        before = await self.database.stored_fixes()
        await asyncio.to_thread(day.merge, self.dsn)
        await self.database.vacuum()
        stored = await self.database.stored_fixes()
        if stored != before:
            raise RuntimeError(f"Merging made {stored} fixes of {before}.")
        return _figures(run, stored) | {"bytes_per_fix": await self.database.bytes_per_fix()}

    async def _day(self) -> Figures:
        """Measures reading one device's merged day as GeoJSON."""
        await self.database.clear("track_segment, track_merged")
        start_millis = await self._send_day(self.product, batch_size=BATCH_FIXES)
        await asyncio.to_thread(day.merge, self.dsn)
        fixes = self.options.day_fixes
        return await day.read(self.product.address, self.watch_token, from_millis=start_millis, fixes=fixes)

    async def _rival_day(self, loader: LoadGenerator, database: Database) -> Figures:
        """Measures reading the same day from the rival's rows."""
        await database.clear("fix")
        # The batch size does not affect the stored rows.
        start_millis = await self._send_day(loader, batch_size=500)
        fixes = self.options.day_fixes
        return await day.read(loader.address, loader.token, from_millis=start_millis, fixes=fixes)

    async def _send_day(self, loader: LoadGenerator, *, batch_size: int) -> int:
        start_millis = day.start_millis()
        await loader.run(
            "http",
            devices=1,
            device_prefix=day.DEVICE.rstrip("0123456789"),
            connections=1,
            batch_size=batch_size,
            batches=-(-self.options.day_fixes // batch_size),
            duration_secs=600,
            first_fix_millis=start_millis,
        )
        return start_millis

    def _hour(self) -> Figures:
        devices = self.options.late_devices
        return {
            "devices": devices,
            "device_prefix": "late-",
            "fix_interval_millis": LATE_INTERVAL_MILLIS,
            "connections": min(self.options.middle, devices),
        }

    async def _stored(self, *, mode: str = "http", append: bool = False, **load: Any) -> Figures:  # noqa: ANN401
        """Runs a load and counts its fixes in the database.

        Raises:
            RuntimeError: the receipts and the database count different numbers.
        """
        if not append:
            await self.database.clear("track_segment, track_merged")
        before = await self.database.stored_fixes()
        run = await self.product.run(mode, **self._load(load))
        stored = await self.database.stored_fixes() - before
        if stored != run.report["fixes"]["stored"]:
            raise RuntimeError(f"{run.report['fixes']['stored']} fixes were acknowledged and {stored} are stored.")
        return _figures(run, stored) | {"bytes_per_fix": await self.database.bytes_per_fix()}

    async def _empty(self, **load: Any) -> Figures:  # noqa: ANN401
        return _figures(await self.product.run("http", empty=True, **self._load(load)), 0)

    async def _rival(self, loader: LoadGenerator, database: Database, **load: Any) -> Figures:  # noqa: ANN401
        await database.clear("fix")
        run = await loader.run("http", **self._load(load))
        return _figures(run, await database.stored_rows())

    def _load(self, load: Figures) -> Figures:
        return {"devices": self.options.devices, "duration_secs": self.options.secs} | load


def _slope(values: Sequence[float]) -> float:
    """Returns the mean growth from one value to the next, by least squares."""
    return statistics.linear_regression(range(len(values)), values).slope if len(values) > 1 else 0.0


def _figures(run: LoadRun, stored_fixes: int) -> Figures:
    latency = run.report["latency"]
    resident = [size / (1 << 20) for size in run.resident_bytes]
    warm = resident[len(resident) // 10 :]
    return {
        "fixes_per_sec": stored_fixes / run.report["secs"],
        "requests_per_sec": run.report["requests_per_sec"],
        "p50_millis": latency["p50_millis"],
        "p99_millis": latency["p99_millis"],
        "max_millis": latency["max_millis"],
        "micros_per_request": run.micros_per_request(),
        "resident_start_mebibytes": resident[0],
        "resident_first_mebibytes": warm[0],
        "resident_last_mebibytes": resident[-1],
        "resident_peak_mebibytes": max(resident),
        "resident_slope_mebibytes_per_min": _slope(warm) * 60 / SAMPLE_SECS,
        "report": run.report,
    }
