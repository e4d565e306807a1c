"""Commands `fleetwire replay` and `fleetwire simulate`: send traffic over the HTTP and WebSocket interface."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Coroutine
from typing import Annotated, Any

from cyclopts import Parameter

from fleetwire.cli.options import Json, Url

Token = Annotated[str, Parameter(help="An ingest key: `fleetwire token ingest --tenant NAME`.")]


def simulate(
    *,
    token: Token,
    url: Url = "http://127.0.0.1:8000",
    vehicles: Annotated[int, Parameter(help="Number of vehicles.")] = 200,
    seed: Annotated[int, Parameter(help="Decides town, drives, noise and dead zones.")] = 7,
    device_prefix: Annotated[str, Parameter(help="Devices are named PREFIX1, PREFIX2 and so on.")] = "truck-",
    sample_secs: Annotated[float, Parameter(help="Interval between fixes.")] = 1.0,
    send_secs: Annotated[float, Parameter(help="Mean interval between batches.")] = 5.0,
    socket_share: Annotated[float, Parameter(help="Share of devices that use /ws; the others use HTTP.")] = 0.5,
    dead_zones: Annotated[int, Parameter(help="Areas without a network; their fixes arrive later.")] = 12,
    repeat_share: Annotated[float, Parameter(help="Share of batches sent again.")] = 0.01,
    print_every_secs: Annotated[
        float, Parameter(help="Interval between status lines on stderr; 0 prints none.")
    ] = 10.0,
    run_secs: Annotated[float | None, Parameter(help="Duration (default: until Ctrl-C).")] = None,
) -> None:
    """Drive a simulated fleet through a made-up town and send its fixes as driver apps do, until Ctrl-C.

    Vehicles turn and stop; fixes have GPS noise; fixes from dead zones arrive later in one burst; a share of the
    batches is sent twice.
    """
    from fleetwire.simulate.fleet import simulate as run
    from fleetwire.simulate.options import SimulateOptions

    options = SimulateOptions(
        url=url,
        token=token,
        vehicles=vehicles,
        seed=seed,
        device_prefix=device_prefix,
        sample_secs=sample_secs,
        send_secs=send_secs,
        socket_share=socket_share,
        dead_zones=dead_zones,
        repeat_share=repeat_share,
        print_every_secs=print_every_secs,
        run_secs=run_secs,
    )
    asyncio.run(_until_stopped(run(options)))


async def _until_stopped(work: Coroutine[Any, Any, object]) -> None:
    """Runs until done, Ctrl-C or SIGTERM; sends buffered fixes before the process ends."""
    task = asyncio.ensure_future(work)
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def replay(
    files: Annotated[list[str], Parameter(help="CSV, GPX or GeoJSON files, plain or .gz; - is CSV on standard input.")],
    /,
    *,
    token: Token,
    url: Url = "http://127.0.0.1:8000",
    speed: Annotated[str, Parameter(help="max, or recorded seconds per second: 1 is real time.")] = "max",
    batch_size: Annotated[int, Parameter(help="Largest number of fixes per batch.")] = 500,
    batch_secs: Annotated[float, Parameter(help="Largest recorded time per batch; only with a speed.")] = 30.0,
    senders: Annotated[int, Parameter(help="Number of batches in flight.")] = 8,
    shuffle: Annotated[int | None, Parameter(help="Seed to shuffle all rows with.")] = None,
    overlap: Annotated[float, Parameter(help="Share of batches to send twice, 0 to 1.")] = 0.0,
    limit: Annotated[int | None, Parameter(help="Number of rows to send.")] = None,
    device_prefix: Annotated[str, Parameter(help="Prefix of every device name.")] = "",
    shift_to_now: Annotated[
        bool, Parameter(negative="", help="Shift all times so that the newest fix is now.")
    ] = False,
    retry_timeout_secs: Annotated[float, Parameter(help="Period in which a failed batch is retried.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Send recorded traces to a running server and summarize its receipts.

    CSV columns: device, ts_ms, lat, lon, alt_m, speed_mps, heading_deg, accuracy_m; blank where unknown. Every batch
    is retried until it has a receipt, so that a restart of the server loses nothing.
    """
    from rich.console import Console

    from fleetwire.replay.options import ReplayOptions, speed_factor
    from fleetwire.replay.player import replay as run

    options = ReplayOptions(
        files=tuple(files),
        url=url,
        token=token,
        batch_size=batch_size,
        batch_secs=batch_secs,
        speed=speed_factor(speed),
        senders=senders,
        shuffle_seed=shuffle,
        overlap=overlap,
        limit_rows=limit,
        device_prefix=device_prefix,
        shift_to_now=shift_to_now,
        retry_timeout_secs=retry_timeout_secs,
    )
    summary = asyncio.run(run(options))
    if as_json:
        print(json.dumps(summary.as_json()))
    else:
        Console().print(summary)
