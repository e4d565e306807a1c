"""Runs the scenarios of the standard set and computes their figures."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from bench.report.options import ReportOptions
from bench.report.run import SampledRun, loadgen, open_sampler
from bench.server.start import BenchServer, start_server
from bench.server.valkey import start_valkey

Found = dict[str, Any]
Scenario = Callable[[ReportOptions, Path], Awaitable[Found]]

TICK_MILLIS = 250
MOVING_APP = "bench.server.moving_app:create_app"
PREFIX = "fleet-"
"""Prefix of device names; the default of the load generator."""
ROWS, PROTOBUF = "fleetwire.v1.rows", "fleetwire.v1.protobuf"
CORES = 2
_STORED = (
    "SELECT sum(fix_count) FROM (SELECT fix_count FROM track_segment UNION ALL SELECT fix_count FROM track_merged) f"
)


async def load(options: ReportOptions, folder: Path) -> Found:
    """Measures latency over load: the open model at one rate after the other."""
    steps = []
    async with start_server(folder) as server:
        shared = {"batch_size": 10, "connections": 128, "devices": options.drivers, "json": True}
        await loadgen(options.loadgen, server, "http", duration_secs=1.0, device_prefix="warm-", **shared)
        for rate in options.load_rates:
            name = {"device_prefix": f"load-{rate}-"}
            run = await loadgen(
                options.loadgen, server, "http", rate=rate, duration_secs=options.load_secs, **name, **shared
            )
            latency = {quantile: run.report["latency"][f"{quantile}_millis"] for quantile in ("p50", "p95", "p99")}
            cores = {f"{who}_cores": run.cores(who) for who in ("worker", "postgres", "loadgen")}
            _no_errors(run.report)
            steps.append({"rate": rate, "answered_per_sec": run.report["requests_per_sec"], **latency, **cores})
    return {"figures": {}, "steps": steps}


async def http_1000(options: ReportOptions, folder: Path) -> Found:
    """Runs drivers that post every second, and some watchers."""
    async with start_server(folder) as server:
        known = await _create_devices(options, server, options.drivers)
        run = await _fleet(
            options, server, drivers=options.drivers, watchers=options.few_watchers, duration_secs=options.http_secs
        )
        await _check_stored(server, run.report["posts"], known)
    return _found(run, receipts="posts")


async def sockets_10000(options: ReportOptions, folder: Path) -> Found:
    """Runs driver sockets with a batch every 30 s, and many watchers of one tenant."""
    async with start_server(folder) as server:
        known = await _create_devices(options, server, options.sockets)
        run = await _fleet(
            options,
            server,
            sockets=options.sockets,
            watchers=options.watchers,
            every_secs=options.every_secs,
            # A socket's memory grows until the second message; the measurement starts after it.
            warm_secs=2 * options.every_secs,
            duration_secs=options.rounds * options.every_secs,
        )
        await _check_stored(server, run.report["messages"], known)
    return _found(run, receipts="messages")


async def storm(options: ReportOptions, folder: Path) -> Found:
    """Cuts every socket at once; all reconnect with the jitter of our clients."""
    async with start_server(folder) as server:
        await _create_devices(options, server, options.sockets)
        run = await _fleet(
            options,
            server,
            sockets=options.sockets,
            watchers=options.watchers,
            every_secs=options.every_secs,
            cut_at_secs=options.warm_secs,
            duration_secs=options.warm_secs + options.storm_limit_secs,
        )
    back = run.report["storm"]
    if back["all_back_secs"] is None:
        raise RuntimeError(f"{back['back']} of {back['cut']} reconnected within {options.storm_limit_secs:g} s")
    figures = {
        "all_back_secs": back["all_back_secs"],
        "watchers_back_p99_secs": back["watchers"]["p99_millis"] / 1000,
        "drivers_back_p99_secs": back["drivers"]["p99_millis"] / 1000,
    }
    return {"figures": figures, "report": run.report, "timeline": run.timeline()}


async def fanout_1000(options: ReportOptions, folder: Path) -> Found:
    """Runs watchers of everything while every device moves once a second, as plain JSON without a subprotocol."""
    return await _fanout(options, folder)


async def fanout_1000_rows(options: ReportOptions, folder: Path) -> Found:
    """Runs the same as JSON rows, the default of our own clients."""
    return await _fanout(options, folder, protocol=ROWS)


async def fanout_1000_protobuf(options: ReportOptions, folder: Path) -> Found:
    """Runs the same as Protobuf."""
    return await _fanout(options, folder, protocol=PROTOBUF)


async def stalled(options: ReportOptions, folder: Path) -> Found:
    """Runs the same in JSON without and with one watcher that never reads, on one server."""
    async with _moving(options, folder) as server:
        shared: Found = {"stamped": True, "duration_secs": options.stalled_secs}
        without = await _fleet(options, server, watchers=options.watchers - 1, **shared)
        run = await _fleet(options, server, watchers=options.watchers - 1, stalled=1, **shared)
    before, after = (each.report["watched"]["delay"]["p99_millis"] for each in (without, run))
    found = _found(run)
    found["figures"] |= {"delay_p99_ratio": after / before, "delay_p99_without_millis": before}
    return found | {"without": without.report}


async def relay(options: ReportOptions, folder: Path) -> Found:
    """Runs watchers on the worker that drivers send to, then on another worker that is connected by Valkey."""
    async with start_valkey() as url, start_server(folder, nodes=2, FLEETWIRE_REDIS_URL=url) as server:
        shared: Found = {
            "drivers": options.drivers,
            "watchers": options.few_watchers,
            "duration_secs": options.relay_secs,
        }
        await _create_devices(options, server, options.drivers)
        near = await _fleet(options, server, **shared)
        far = await _fleet(options, server, watch_address=server.nodes[1].address, **shared)
    for run in (near, far):
        _no_errors(run.report["posts"])
    if not far.report["watched"]["positions"]:
        raise RuntimeError("The watchers on the other worker received no movements: it has no relay.")
    found = _found(far, receipts="posts")
    near_p99, far_p99 = (each.report["watched"]["delay"]["p99_millis"] for each in (near, far))
    found["figures"] |= {"added_p99_millis": max(0.0, far_p99 - near_p99), "delay_p99_near_millis": near_p99}
    return found | {"near": near.report}


ALL: dict[str, Scenario] = {
    each.__name__: each
    for each in (
        load,
        http_1000,
        sockets_10000,
        storm,
        fanout_1000,
        fanout_1000_rows,
        fanout_1000_protobuf,
        stalled,
        relay,
    )
}


def _moving(options: ReportOptions, folder: Path):  # noqa: ANN202 - the context manager of start_server
    # The only tenant of a new database has the number 1.
    return start_server(folder, app=MOVING_APP, BENCH_DEVICES=str(options.devices), BENCH_TENANT_ID="1")


async def _fanout(options: ReportOptions, folder: Path, **more: Any) -> Found:  # noqa: ANN401 - of a command line
    async with _moving(options, folder) as server:
        async with open_sampler(server) as sampler:
            await asyncio.sleep(1)  # Every device has a position after the first second.
            empty_bytes = (await sampler.sample()).resident_bytes
        run = await _fleet(
            options, server, watchers=options.watchers, stamped=True, duration_secs=options.fanout_secs, **more
        )
    found = _found(run)
    watched, figures = run.report["watched"], found["figures"]
    if not watched["positions"]:
        raise RuntimeError(f"The watchers received no movements: {watched}")
    per_watcher_bytes = (run.resident_bytes() - empty_bytes) / options.watchers
    figures |= {
        "positions_per_core_sec": watched["positions_per_sec"] / max(0.01, run.cores("worker")),
        "delay_p99_beyond_tick_millis": max(0.0, watched["delay"]["p99_millis"] - TICK_MILLIS),
        "kibibytes_per_watcher": per_watcher_bytes / 1024,
    }
    return found


async def _create_devices(options: ReportOptions, server: BenchServer, devices: int) -> int:
    """Stores one old fix of every device, so that creating devices is not measured.

    Returns:
        the number of stored fixes.
    """
    once = {"batches": devices, "batch_size": 1, "duration_secs": 120.0, "device_prefix": PREFIX, "json": True}
    run = await loadgen(options.loadgen, server, "http", devices=devices, connections=min(32, devices), **once)
    _no_errors(run.report)
    return await _stored(server)


async def _fleet(options: ReportOptions, server: BenchServer, **more: Any) -> SampledRun:  # noqa: ANN401 - of a command line
    return await loadgen(options.loadgen, server, "fleet", **({"warm_secs": options.warm_secs} | more))


def _found(run: SampledRun, *, receipts: str | None = None) -> Found:
    report = run.report
    watched = report["watched"]
    figures: dict[str, float] = {
        "resident_gigabytes": run.resident_bytes() / 1e9,
        "cpu_percent": 100 * run.cores("worker") / CORES,
        "worker_cores": run.cores("worker"),
        "postgres_cores": run.cores("postgres"),
        "loadgen_cores": run.cores("loadgen"),
        "loadgen_lag_p99_millis": report["lag"]["p99_millis"],
        "connections": run.connections(),
        "delay_p50_millis": watched["delay"]["p50_millis"],
        "delay_p99_millis": watched["delay"]["p99_millis"],
        "positions_per_sec": watched["positions_per_sec"],
        "lost": watched["lost"],
    }
    if receipts:
        latency = report[receipts]["latency"]
        figures |= {f"receipt_{name}": latency[name] for name in ("p50_millis", "p95_millis", "p99_millis")}
    return {"figures": figures, "report": report, "timeline": run.timeline()}


def _no_errors(report: Found) -> None:
    if report["errors"] or set(report["answers"]) - {"200", "receipt"}:
        raise RuntimeError(f"The measurement is invalid: answers {report['answers']}, errors {report['errors']}")


async def _check_stored(server: BenchServer, report: Found, before: int) -> None:
    """Compares the receipts with the database."""
    _no_errors(report)
    stored = await _stored(server) - before
    if stored != report["fixes"]["stored"]:
        raise RuntimeError(f"{report['fixes']['stored']} fixes were acknowledged and {stored} are stored.")


async def _stored(server: BenchServer) -> int:
    connection = await asyncpg.connect(server.dsn, command_timeout=300)
    try:
        return int(await connection.fetchval(_STORED) or 0)
    finally:
        await connection.close()
