"""`python -m bench.ingest`: starts the servers, runs all measurements, prints a table and saves the result."""

import asyncio
import contextlib
import dataclasses
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import fleetwire
from bench import machine
from bench.ingest import bare_copy, database, figures, report
from bench.ingest.load import LoadGenerator
from bench.ingest.options import IngestOptions, parse
from bench.ingest.steps import IngestBench
from bench.server import processes, rival
from bench.server.start import BenchServer, start_server

EMPTY_APP = "bench.server.empty_app:create_app"


def main() -> None:
    """Runs the benchmark of the command line."""
    options = parse()
    if fleetwire.build_profile != "release":
        sys.exit("The core is a debug build; build it with `make build`.")
    if not options.loadgen.exists():
        sys.exit("The load generator is missing; build it with `cargo build --release -p loadgen`.")
    # A thousand sockets on both sides; child processes inherit the limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="fleetwire-bench-", dir=options.folder) as folder:
        asyncio.run(_run(options, Path(folder)))


async def _run(options: IngestOptions, folder: Path) -> None:
    header: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(folder),
        "versions": machine.versions(),
        # Without paths, which do not affect the figures.
        "options": {name: value for name, value in _options(options) if not isinstance(value, Path)},
    }
    if header["machine"]["filesystem"] == "tmpfs":
        print("The folder is in memory: nothing is durable. Choose another with --folder.", file=sys.stderr)
    micro = await _micro(options)
    repetitions: list[dict[str, Any]] = []
    soak: dict[str, Any] = {}
    async with contextlib.AsyncExitStack() as exits:
        server = await exits.enter_async_context(start_server(folder, app=EMPTY_APP))
        bench = await _prepare(options, folder, server, exits)
        header["database"] = await bench.database.settings()
        await bench.warm_up()
        for number in range(options.repeat):
            found: dict[str, Any] = {}
            repetitions.append(found)
            async for step in bench.repetition(found):
                per_sec = found[step]["fixes_per_sec"] or found[step]["requests_per_sec"]
                print(f"{number + 1}/{options.repeat} {step}: {per_sec:,.0f}/s", file=sys.stderr)
        if options.soak_secs and options.wants("soak"):
            soak = await bench.soak(options.middle)
            print(
                "soak: {resident_start_mebibytes:.0f} MiB at the start, {resident_first_mebibytes:.0f} at a tenth, "
                "{resident_last_mebibytes:.0f} at the end, {resident_slope_mebibytes_per_min:+.2f} a minute".format(
                    **soak
                ),
                file=sys.stderr,
            )
    lines = list(figures.all_figures(options, repetitions, soak, micro))
    table = report.render(header, lines, repetitions)
    print(table)
    measured = {"repetitions": repetitions, "soak": soak, "micro": micro}
    print(report.save(options.results, header, lines, measured, table), file=sys.stderr)


async def _prepare(
    options: IngestOptions, folder: Path, server: BenchServer, exits: contextlib.AsyncExitStack
) -> IngestBench:
    other_dsn = await database.bench_dsn(server.dsn)
    (worker_pid,) = server.worker_pids()
    postmaster_pid = server.nodes[0].postmaster_pid
    if postmaster_pid is None:
        raise RuntimeError("The benchmark needs the embedded PostgreSQL.")
    wants_rival = options.rival and any(map(options.wants, ("rival50", "rival1", "day")))
    if wants_rival and (missing := rival.missing()):
        print(f"The rival is skipped: {', '.join(missing)} not installed.", file=sys.stderr)
        wants_rival = False
    other = rival_database = None
    if wants_rival:
        address, pid = await exits.enter_async_context(rival.start_rival(other_dsn))
        rival_database = await exits.enter_async_context(database.connect(other_dsn))
        other = LoadGenerator(options.loadgen, address, rival.TOKEN, pid, postmaster_pid)
    return IngestBench(
        options=options,
        product=LoadGenerator(options.loadgen, server.address, server.ingest_key, worker_pid, postmaster_pid),
        database=await exits.enter_async_context(database.connect(server.dsn)),
        dsn=server.dsn,
        watch_token=server.dispatcher_token,
        bench_dsn=other_dsn,
        copy_streams=await bare_copy.prepare(options, folder) if options.wants("copy") else [],
        rival=other,
        rival_database=rival_database,
    )


async def _micro(options: IngestOptions) -> dict[str, Any]:
    if not (options.micro and options.wants("micro")):
        return {}
    command = [sys.executable, "-m", "bench.micro", "--json", *(["--quick"] if options.quick else [])]
    env = processes.environment()
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, check=True)
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found


def _options(options: IngestOptions) -> list[tuple[str, Any]]:
    return [(field.name, getattr(options, field.name)) for field in dataclasses.fields(options)]


if __name__ == "__main__":
    main()
