"""`fleetwire migrate` and `fleetwire db`."""

import asyncio

import cyclopts

from fleetwire.cli.options import DatabaseUrl, DataDir, bring_up, owner_dsn
from fleetwire.errors import FleetwireError
from fleetwire.settings import Settings

app = cyclopts.App(name="db", help="The database.")


def migrate(*, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Bring the schema up to date. `serve` does it by itself; safe at any time, also from many places at once."""
    with owner_dsn(data_dir, database_url) as dsn:
        for name in asyncio.run(bring_up(dsn)):
            print(name)


@app.command
def url(*, data_dir: DataDir = None) -> None:
    """Print the owner's DSN of the running embedded database: psql "$(fleetwire db url)"."""
    from fleetwire.postgres.embedded.server import running_dsn

    folder = Settings.from_env(data_dir=data_dir).data_dir
    dsn = running_dsn(folder)
    if dsn is None:
        raise FleetwireError(f"No database runs in {folder}; `fleetwire serve` starts it.")
    print(dsn)
