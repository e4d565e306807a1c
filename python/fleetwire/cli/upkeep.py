"""`fleetwire upkeep`: what the server does in the background, once and at full speed."""

import asyncio
from typing import Annotated

import msgspec
from cyclopts import Parameter

from fleetwire.cli.options import DatabaseUrl, DataDir, Json, bring_up, owner_dsn
from fleetwire.settings import Settings


def upkeep(
    *,
    merge_after_secs: Annotated[
        float | None, Parameter(help="How long after its end an hour is merged (default: 7200).")
    ] = None,
    retention_days: Annotated[
        int | None,
        Parameter(help="Days that fixes are kept, if the tenant does not say otherwise (default: for ever)."),
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make partitions ahead, delete what has expired, merge small segments of closed hours, and say what was done.

    A running server does the same in the background, with rests. Safe at any time.
    """
    from fleetwire.store.maintenance.rounds import run_once

    settings = Settings.from_env(
        data_dir=data_dir,
        database_url=database_url,
        merge_after_secs=merge_after_secs,
        retention_days=retention_days,
    )
    with owner_dsn(data_dir, database_url) as dsn:
        asyncio.run(bring_up(dsn))
        done = asyncio.run(run_once(dsn, settings)).as_dict()
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(done)).decode())
        return
    for name, value in done.items():
        print(f"{name.replace('_', ' ')}: {value}")
