"""`fleetwire replay` and `fleetwire simulate`: traffic through the real HTTP and WebSocket interface."""

import asyncio
import json
from typing import Annotated

from cyclopts import Parameter

from fleetwire.commands.options import Json, Url

Token = Annotated[str, Parameter(help="An ingest key: `fleetwire token ingest --tenant NAME`.")]


def replay(
    files: Annotated[list[str], Parameter(help="CSV, GPX or GeoJSON files, plain or .gz; - is CSV on standard input.")],
    /,
    *,
    token: Token,
    url: Url = "http://127.0.0.1:8000",
    speed: Annotated[str, Parameter(help="max, or recorded seconds per second: 1 is real time.")] = "max",
    batch_size: Annotated[int, Parameter(help="Fixes per batch, at most.")] = 500,
    batch_secs: Annotated[float, Parameter(help="Recorded seconds per batch, at most; with a speed only.")] = 30.0,
    senders: Annotated[int, Parameter(help="Batches in flight at once.")] = 8,
    shuffle: Annotated[int | None, Parameter(help="Shuffle all rows first, with this seed.")] = None,
    overlap: Annotated[float, Parameter(help="Share of batches to send twice, 0 to 1.")] = 0.0,
    limit: Annotated[int | None, Parameter(help="Stop after so many rows.")] = None,
    device_prefix: Annotated[str, Parameter(help="Put before every device's name.")] = "",
    shift_to_now: Annotated[bool, Parameter(negative="", help="Move all times so that the newest fix is now.")] = False,
    give_up_secs: Annotated[float, Parameter(help="How long a batch is tried again before the replay stops.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Send recorded traces to a running server and sum up its receipts.

    CSV columns: device, ts_ms, lat, lon, alt_m, speed_mps, heading_deg, accuracy_m; blank where unknown. Every batch
    is sent again until it has a receipt, so a server that restarts in between loses nothing.
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
        give_up_secs=give_up_secs,
    )
    summary = asyncio.run(run(options))
    if as_json:
        print(json.dumps(summary.as_json()))
    else:
        Console().print(summary)
