"""`fleetwire demo`: what `make run` starts."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from fleetwire.cli.options import DatabaseUrl, DataDir, Host, Port
from fleetwire.settings import Settings


def demo(
    *,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    vehicles: Annotated[int, Parameter(help="Simulated vehicles.")] = 200,
    seed: Annotated[int, Parameter(help="Town, drives and dead zones follow from it.")] = 7,
) -> None:
    """Serve with a simulated fleet: the live map is full of vehicles a few seconds later.

    Makes a tenant `demo` with a dispatcher's login (a made-up password, printed and kept in the data folder). Ctrl-C
    stops everything; a second start goes on with the same data.
    """
    from fleetwire import demo as parts
    from fleetwire.postgres.embedded.server import make_data_dir
    from fleetwire.runtime.private_files import make_private_dir
    from fleetwire.server.serve import serve

    settings = Settings.from_env(data_dir=data_dir, host=host, port=port, database_url=database_url)
    if settings.database_url is None:
        make_data_dir(settings.data_dir)
    else:
        make_private_dir(settings.data_dir)
    settings = replace(settings, map_overlay=parts.write_streets(settings.data_dir, seed=seed))
    with contextlib.ExitStack() as exits:

        def start_fleet(url: str, dsn: str) -> None:
            made = asyncio.run(parts.prepare(dsn, settings.data_dir))
            exits.enter_context(parts.fleet(url=url, ingest_key=made.ingest_key, vehicles=vehicles, seed=seed))
            print(parts.welcome(url, made), flush=True)

        print(f"Starting the database in {settings.data_dir} and the server.", flush=True)
        serve(settings, on_ready=start_fleet, on_stopping=exits.close)
