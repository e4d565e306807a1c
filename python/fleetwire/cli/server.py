"""`fleetwire serve`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fleetwire.cli.options import DatabaseUrl, DataDir, Host, Port
from fleetwire.settings import Settings


def serve(
    *,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int | None, Parameter(help="Processes that serve (default: 1).")] = None,
    database_url: DatabaseUrl = None,
    redis_url: Annotated[str | None, Parameter(help="Redis or Valkey, which several workers or nodes need.")] = None,
    respawn: Annotated[bool | None, Parameter(help="Start a worker that dies again (default: yes).")] = None,
    otlp_endpoint: Annotated[str | None, Parameter(help="OTLP/HTTP receiver of spans, such as a collector.")] = None,
    spool: Annotated[Path | None, Parameter(help="Folder in which batches wait while the database is away.")] = None,
    map_style: Annotated[str | None, Parameter(help="Address of a MapLibre style for the console's map.")] = None,
    map_overlay: Annotated[Path | None, Parameter(help="GeoJSON of lines to draw beneath the vehicles.")] = None,
) -> None:
    """Serve the API, the feeds and the console until Ctrl-C or SIGTERM.

    Starts the embedded PostgreSQL unless --database-url is given, brings the schema up to date, and prints one line
    `ready http://...` when requests are answered. At a stop, held batches are answered and sockets are told.
    `fleetwire config show` lists all further settings.
    """
    from fleetwire.server.serve import serve as run

    settings = Settings.from_env(
        data_dir=data_dir,
        host=host,
        port=port,
        workers=workers,
        database_url=database_url,
        redis_url=redis_url,
        respawn=respawn,
        otlp_endpoint=otlp_endpoint,
        spool=spool,
        map_style=map_style,
        map_overlay=map_overlay,
    )
    run(settings, on_ready=lambda address, _: print(f"ready {address}", flush=True))
