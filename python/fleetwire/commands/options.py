"""Options that several commands share, and how a command reaches the database."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fleetwire.settings import Settings

DataDir = Annotated[Path | None, Parameter(help="Folder of the embedded PostgreSQL (default: fleetwire-data).")]
DatabaseUrl = Annotated[str | None, Parameter(help="DSN of a PostgreSQL 15 to 18, instead of the embedded one.")]
Host = Annotated[str | None, Parameter(help="Address to listen on (default: 127.0.0.1).")]
Port = Annotated[int | None, Parameter(help="TCP port to listen on (default: 8000).")]
Tenant = Annotated[str, Parameter(help="The company; created if it is missing.")]
Json = Annotated[bool, Parameter(name="--json", negative="", env_var=[], help="Print JSON.")]
Url = Annotated[str, Parameter(help="Address of the server.")]


@contextlib.contextmanager
def owner_dsn(data_dir: Path | None, database_url: str | None) -> Iterator[str]:
    """The owner's DSN: of the database given, or of the embedded one, which is started for as long if it is not up."""
    from fleetwire.store.embedded import borrow

    settings = Settings.from_env(data_dir=data_dir, database_url=database_url)
    if settings.database_url is not None:
        yield settings.database_url
    else:
        with borrow(settings.data_dir) as dsn:
            yield dsn
