"""`fleetwire spool`: what waits on disk to be stored, and what was put aside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cyclopts
import msgspec
from cyclopts import Parameter

from fleetwire.cli.options import Json
from fleetwire.errors import ConfigError
from fleetwire.runtime.terminal import print_table
from fleetwire.settings import Settings

app = cyclopts.App(name="spool", help="Batches on disk that were acknowledged as queued and are not stored yet.")

Folder = Annotated[Path | None, Parameter(name="--spool", help="Folder of the spool, as given to `serve`.")]


@app.command(name="list")
def list_all(*, spool: Folder = None, as_json: Json = False) -> None:
    """List the files: those that wait to be stored, and those put aside as refused or damaged.

    May be run beside a server. A file that is put aside and not needed any more may be deleted.
    """
    from fleetwire.ingest.spool_admin import list_files

    _print(list_files(_root(spool)), as_json=as_json)


@app.command
def inspect(
    file: Annotated[str, Parameter(help="As `fleetwire spool list` names it.", env_var=[])],
    *,
    spool: Folder = None,
    as_json: Json = False,
) -> None:
    """List the batches of a file: whose they are, when they were received, and why they were put aside."""
    from fleetwire.ingest.spool_admin import inspect as run

    _print(run(_root(spool), file), as_json=as_json)


@app.command
def retry(
    *files: Annotated[str, Parameter(help="As `fleetwire spool list` names them; without any, all.", env_var=[])],
    spool: Folder = None,
    as_json: Json = False,
) -> None:
    """Try refused batches again, such as after the tenant's device limit was raised.

    A running server stores them within seconds, otherwise the next one does. What is refused again is put aside again.
    """
    from fleetwire.ingest.spool_admin import retry as run

    given_back = run(_root(spool), files)
    if as_json:
        print(msgspec.json.encode({"files": given_back}).decode())
        return
    for name in given_back:
        print(f"{name} waits to be stored")


def _root(spool: Path | None) -> Path:
    root = Settings.from_env(spool=spool).spool
    if root is None:
        raise ConfigError("Which spool? Name its folder with --spool or FLEETWIRE_SPOOL.")
    return root


def _print(rows: Sequence[msgspec.Struct], *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    if rows:
        print_table(
            list(msgspec.structs.asdict(rows[0])),
            ([_cell(value) for value in msgspec.structs.asdict(row).values()] for row in rows),
        )


def _cell(value: object) -> str:
    return "" if value is None else str(value)
