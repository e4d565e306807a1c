"""`fleetwire keys`: the keys that sign logins. Works while the server runs, and when not."""

from typing import Annotated

import cyclopts
import msgspec
from cyclopts import Parameter

from fleetwire.cli.options import DatabaseUrl, DataDir, Json, as_owner
from fleetwire.runtime.terminal import print_table

app = cyclopts.App(name="keys", help="The keys that sign logins.")


@app.command
def rotate(
    *,
    drop_old: Annotated[
        bool, Parameter(negative="", help="Old keys verify no more: for a key that may have leaked.")
    ] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a new key that signs from now on, and print its name. What older keys signed stays good."""
    from fleetwire.access.accounts import rotation

    print(as_owner(data_dir, database_url, lambda connection: rotation.rotate(connection, drop_old=drop_old)))


@app.command
def rotate_redis(
    *,
    drop_old: Annotated[
        bool, Parameter(negative="", help="What the old key signed is not believed any more: it may have leaked.")
    ] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a new key that signs what workers put into Redis. Running servers use it within a second."""
    from fleetwire.redis import signing

    as_owner(data_dir, database_url, lambda connection: signing.rotate(connection, drop_old=drop_old))
    print("rotated the key for Redis")


@app.command(name="list")
def list_keys(*, as_json: Json = False, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """List the keys; their secrets are not shown."""
    from fleetwire.access.accounts import rotation

    keys = as_owner(data_dir, database_url, rotation.list_keys)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(keys)).decode())
        return
    print_table(("key", "created", "retired"), ((key.kid, key.created_at, key.retired_at or "-") for key in keys))
