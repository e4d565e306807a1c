"""`fleetwire token` and `fleetwire user`: who may speak to the server. Works while the server runs, and when not."""

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
import msgspec
from cyclopts import Parameter

from fleetwire.cli.options import DatabaseUrl, DataDir, Json, Tenant, as_owner
from fleetwire.runtime.terminal import print_table

if TYPE_CHECKING:
    from fleetwire.access.accounts.owner_admin import CredentialShown

app = cyclopts.App(name="token", help="Create, list and revoke credentials.")
user_app = cyclopts.App(name="user", help="People who log in.")

Role = Literal["admin", "dispatcher", "driver", "customer", "viewer"]
Scopes = Annotated[
    list[str] | None,
    Parameter(
        consume_multiple=True,
        help="Permissions that it keeps of its role's, such as `operate` for /metrics alone (default: all).",
    ),
]
Days = Annotated[float | None, Parameter(help="Days until it expires (default: never).")]


@app.command
def ingest(*, tenant: Tenant, days: Days = None, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Print a new ingest key: it sends fixes for every device of the tenant and reads nothing."""
    _print_token("ingest", None, None, tenant, days, data_dir, database_url)


@app.command
def device(
    name: Annotated[str, Parameter(help="The device; created if it is missing.")],
    *,
    tenant: Tenant,
    days: Days = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Print a new device token: it sends fixes for this one device."""
    _print_token("device", name, None, tenant, days, data_dir, database_url)


@app.command
def user(
    name: Annotated[str, Parameter(help="The user; created without a password if missing.")],
    *,
    tenant: Tenant,
    role: Annotated[
        Role | None, Parameter(help="Role of a new user (default: dispatcher, or the least that has the scopes).")
    ] = None,
    scopes: Scopes = None,
    days: Days = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Print a new user token, for programs that watch or read."""
    _print_token("user", name, role, tenant, days, data_dir, database_url, scopes)


@app.command(name="list")
def list_tokens(
    *, tenant: Tenant, as_json: Json = False, data_dir: DataDir = None, database_url: DatabaseUrl = None
) -> None:
    """List a tenant's credentials; the tokens themselves are not kept."""
    from fleetwire.access.accounts.owner_admin import list_credentials

    rows = as_owner(data_dir, database_url, lambda connection: list_credentials(connection, tenant))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    columns = ("id", "kind", "for", "role", "created", "expires", "revoked", "last used")
    print_table(columns, (_cells(row) for row in rows))


@app.command
def revoke(
    credential: Annotated[str, Parameter(help="The token, or its id from `token list`.")],
    *,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Revoke a credential; running servers refuse it within a second and close its sockets."""
    from fleetwire.access.accounts.owner_admin import revoke_token

    wanted = int(credential) if credential.isdecimal() else credential
    revoked = as_owner(data_dir, database_url, lambda connection: revoke_token(connection, wanted))
    print(f"revoked {revoked}")


@user_app.command
def create(
    name: str,
    *,
    tenant: Tenant,
    role: Role = "dispatcher",
    device: Annotated[str | None, Parameter(help="What a driver reports for; created if it is missing.")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a user who logs in with a password, read from the terminal or from standard input."""
    from fleetwire.access.accounts.owner_admin import create_user

    word = _read_password()
    make = lambda connection: create_user(connection, tenant, name, word, role, device=device)  # noqa: E731
    as_owner(data_dir, database_url, make)
    print(f"created {name}")


@user_app.command
def password(name: str, *, tenant: Tenant, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Set a user's password, read as in `user create`, and end the user's sessions."""
    from fleetwire.access.accounts.owner_admin import set_password

    word = _read_password()
    as_owner(data_dir, database_url, lambda connection: set_password(connection, tenant, name, word))
    print(f"changed {name}")


def _cells(row: "CredentialShown") -> list[str]:
    times = (row.created_at, row.expires_at, row.revoked_at, row.last_used_at)
    return [
        str(row.credential_id),
        row.kind,
        row.device or row.user or row.label,
        row.role,
        *(time or "-" for time in times),
    ]


def _read_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Password (12 characters or more): ")
    return sys.stdin.readline().rstrip("\n")


def _print_token(
    kind: Literal["ingest", "device", "user"],
    name: str | None,
    role: str | None,
    tenant: str,
    days: float | None,
    data_dir: DataDir,
    database_url: DatabaseUrl,
    scopes: list[str] | None = None,
) -> None:
    from fleetwire.access.accounts.owner_admin import issue_token

    life_secs = None if days is None else round(days * 86_400)
    named = None if scopes is None else [scope for each in scopes for scope in each.split(",")]
    issue = lambda connection: issue_token(  # noqa: E731
        connection, tenant, kind, name, role, life_secs=life_secs, scopes=named
    )
    print(as_owner(data_dir, database_url, issue))
