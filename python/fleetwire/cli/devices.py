"""`fleetwire device`: the devices of a company, and the removal of one."""

import asyncio
from typing import Annotated

import cyclopts
import msgspec
from cyclopts import Parameter

from fleetwire.cli.options import DatabaseUrl, DataDir, Json, as_owner, bring_up, owner_dsn
from fleetwire.errors import ConfigError

app = cyclopts.App(name="device", help="The devices of a company.")

Tenant = Annotated[str, Parameter(help="The company.")]


@app.command(name="list")
def list_all(
    tenant: Tenant, *, as_json: Json = False, data_dir: DataDir = None, database_url: DatabaseUrl = None
) -> None:
    """List the devices of a company, with the time of the newest fix and when it was received."""
    from rich.console import Console
    from rich.table import Table

    from fleetwire.fleet.devices.removal import list_devices

    rows = as_owner(data_dir, database_url, lambda connection: list_devices(connection, tenant))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    table = Table("name", "created", "last fix", "received", box=None)
    for row in rows:
        table.add_row(row.name, row.created_at, row.last_fixed_at or "-", row.received_at or "-")
    Console().print(table)


@app.command
def remove(
    tenant: Tenant,
    name: Annotated[str, Parameter(help="The device.")],
    *,
    yes: Annotated[str, Parameter(help="The device's name once more: all its fixes are deleted.")] = "",
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Delete a device with its history, its tokens and its place on the map, also in running servers.

    A sender that goes on with a token of the whole company makes a new device of the same name.
    """
    from fleetwire.fleet.devices.removal import remove_device
    from fleetwire.store.maintenance.rounds import exclusive

    if yes != name:
        raise ConfigError(f"This deletes every fix of {name}. To do it, add --yes {name}")

    async def act(dsn: str) -> int:
        await bring_up(dsn)
        async with exclusive(dsn) as connection:
            return await remove_device(connection, tenant, name)

    with owner_dsn(data_dir, database_url) as dsn:
        fixes = asyncio.run(act(dsn))
    print(f"{name} is removed, with {fixes} fixes")
