"""`fleetwire tenant`: what a company has, how long it keeps it, and all of it to take along or to erase."""

import asyncio
from pathlib import Path
from typing import Annotated

import cyclopts
import msgspec
from cyclopts import Parameter

from fleetwire.cli.options import DatabaseUrl, DataDir, Json, as_owner, bring_up, owner_dsn
from fleetwire.errors import ConfigError
from fleetwire.runtime.terminal import print_table

app = cyclopts.App(name="tenant", help="The companies whose data is here.")

Name = Annotated[str, Parameter(help="The company.")]


@app.command(name="list")
def list_all(*, as_json: Json = False, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """List the tenants: devices, limits, and for how long they keep fixes."""
    from fleetwire.store.tenants import list_tenants

    rows = as_owner(data_dir, database_url, list_tenants)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    cells = []
    for row in rows:
        keeps = {None: "default", 0: "for ever"}.get(row.retention_days, f"{row.retention_days} days")
        counts = (str(row.devices), str(row.device_limit))
        cells.append([str(row.tenant_id), row.name, row.status, *counts, keeps, row.created_at])
    print_table(("id", "name", "status", "devices", "limit", "keeps", "created"), cells)


@app.command
def retention(
    name: Name,
    days: Annotated[str, Parameter(help="Days; `forever`; or `default`, as the server's setting says.")],
    *,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Say for how long a tenant keeps its fixes. Older ones are refused and hidden within a minute."""
    from fleetwire.store.tenants import set_retention

    words = {"default": None, "forever": 0}
    if days not in words and not days.isdecimal():
        raise ConfigError(f"{days!r} is neither a number of days nor `forever` or `default`.")
    kept = words[days] if days in words else int(days)
    as_owner(data_dir, database_url, lambda connection: set_retention(connection, name, kept))
    print(f"{name} keeps its fixes {'as the server says' if kept is None else f'{kept} days' if kept else 'for ever'}")


@app.command
def suspend(name: Name, *, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Let nobody of a tenant in and close its sockets, also in running servers. Nothing is deleted."""
    from fleetwire.access.accounts.suspension import set_suspended

    as_owner(data_dir, database_url, lambda connection: set_suspended(connection, name, suspended=True))
    print(f"suspended {name}")


@app.command
def resume(name: Name, *, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Let the users and devices of a suspended tenant in again. Its users log in once more."""
    from fleetwire.access.accounts.suspension import set_suspended

    as_owner(data_dir, database_url, lambda connection: set_suspended(connection, name, suspended=False))
    print(f"resumed {name}")


@app.command
def export(
    name: Name,
    folder: Annotated[Path, Parameter(help="New folder for the CSV files, or that of an interrupted export.")],
    *,
    for_spreadsheet: Annotated[
        bool,
        Parameter(negative="", env_var=[], help="Put an apostrophe before what a spreadsheet takes for a formula."),
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write all data of a tenant as CSV: its fixes in the form that `fleetwire replay` reads, and every other table.

    Hashes of passwords and tokens are left out. After an interruption the same command goes on where it stopped.
    """
    from fleetwire.store.tenant_export import export as run

    act = lambda connection: run(connection, name, folder, for_spreadsheet=for_spreadsheet)  # noqa: E731
    _print(as_owner(data_dir, database_url, act), as_json=as_json)


@app.command
def erase(
    name: Name,
    *,
    yes: Annotated[str | None, Parameter(help="The name once more: there is no way back.", env_var=[])] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Delete a tenant with everything that belongs to it. Its credentials end at once, also in running servers."""
    from fleetwire.store.maintenance.rounds import exclusive
    from fleetwire.store.tenant_erasure import erase as run

    if yes != name:
        raise ConfigError(f"This deletes every fix, device and user of {name}. To do it, add --yes {name}")

    async def act(dsn: str) -> dict[str, int]:
        await bring_up(dsn)
        async with exclusive(dsn) as connection:
            return await run(connection, name)

    with owner_dsn(data_dir, database_url) as dsn:
        deleted = asyncio.run(act(dsn))
    _print(deleted, as_json=as_json)


def _print(rows: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    for table, count in rows.items():
        print(f"{table}: {count}")
