"""What an admin does for a tenant over HTTP: users, tokens, sessions, and the log of who changed what."""

import uuid
from typing import Annotated, Any, Final, Literal

import asyncpg
import msgspec
from litestar import Request, Response, Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from fleetwire.access.accounts import audit
from fleetwire.access.accounts.audit import AuditEntry
from fleetwire.access.accounts.session_list import SessionRow
from fleetwire.access.accounts.token_admin import ApiToken, TokenSubject
from fleetwire.access.accounts.users import Change, User
from fleetwire.access.accounts.validation import check_name
from fleetwire.access.auth import AuthServices
from fleetwire.access.identity.guards import requires
from fleetwire.access.identity.principal import CredentialKind, Permission, Principal, UserRole
from fleetwire.errors import Problem
from fleetwire.runtime import asgi
from fleetwire.runtime.names import MAX_NAME_CHARS
from fleetwire.store.devices import Devices

MAX_PAGE: Final = 500
_MAX_ID: Final = 2**63 - 1
_ADMIN: Final = [requires("administer")]
_NO_STORE: Final = {"Cache-Control": "no-store"}

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]
_Password = Annotated[str, msgspec.Meta(max_length=1_024)]
_Limit = Annotated[int, Parameter(ge=1, le=MAX_PAGE, description="Entries of a page, at most.")]
_Before = Annotated[
    int | None, Parameter(ge=1, le=_MAX_ID, description="Only what is older than this number; `next` of a page.")
]
_After = Annotated[
    str | None, Parameter(max_length=MAX_NAME_CHARS, description="Only names behind this one; `next` of a page.")
]


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Without a password the user can only be given tokens. `device` is for drivers; created if it is missing."""

    name: _Name
    role: UserRole
    password: _Password | None = None
    device: _Name | None = None
    display_name: _Name | None = None


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays; `"device": null` takes a driver's device away."""

    role: UserRole | None = None
    status: Literal["active", "disabled"] | None = None
    password: _Password | None = None
    device: _Name | msgspec.UnsetType | None = msgspec.UNSET


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name`: of the device (created if it is missing), of the user, or a label for an ingest key."""

    kind: CredentialKind
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)] = ""
    scopes: list[Permission] | None = None
    life_secs: int | None = None


class TokenMade(msgspec.Struct, frozen=True):
    """The bare token is shown here and never again."""

    token_id: int
    token: str


class UserPage(msgspec.Struct, frozen=True):
    """`next` is what to give as `after` for the next page; null at the end."""

    users: list[User]
    next: str | None


class TokenPage(msgspec.Struct, frozen=True):
    """`next` is what to give as `before` for the next page; null at the end."""

    tokens: list[ApiToken]
    next: int | None


class AuditPage(msgspec.Struct, frozen=True):
    """`next` is what to give as `before` for the next page; null at the end."""

    entries: list[AuditEntry]
    next: int | None


class SessionsShown(msgspec.Struct, frozen=True):
    """The sessions that live."""

    sessions: list[SessionRow]


@get("/sessions", guards=[requires("account")], operation_id="listSessions", summary="List your sessions")
async def list_sessions(
    principal: NamedDependency[Principal], gate: NamedDependency[AuthServices]
) -> Response[SessionsShown]:
    """The living sessions of the user who asks, newest first."""
    return _unkept(SessionsShown(await gate.session_list.of_user(principal, principal.user_id or 0)))


@delete(
    "/sessions/{session_id:uuid}",
    guards=[requires("account")],
    operation_id="endSession",
    summary="End a session",
    description="One of your own; an admin ends anybody's of the tenant. Its tokens stop within a second on every "
    "worker. Errors: 404 `session_unknown`.",
)
async def end_session(
    session_id: uuid.UUID,
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
    request: Request[Any, Any, Any],
) -> None:
    """Ends it here at once, elsewhere by notification."""
    gate.revoke(await gate.session_list.end(principal, session_id, gate.client_info(request.scope)))


@get("/users/{name:str}/sessions", guards=_ADMIN, operation_id="listUserSessions", summary="List a user's sessions")
async def list_user_sessions(
    name: str, principal: NamedDependency[Principal], gate: NamedDependency[AuthServices]
) -> Response[SessionsShown]:
    """For admins. Errors: 404 `user_unknown`."""
    user_id = await gate.people.find_id(principal.tenant_id, asgi.unveil(name))
    return _unkept(SessionsShown(await gate.session_list.of_user(principal, user_id)))


@get("/users", guards=_ADMIN, operation_id="listUsers", summary="List users")
async def list_users(
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
    after: _After = None,
    limit: _Limit = 100,
) -> Response[UserPage]:
    """The users of the tenant by name, in pages."""
    # PostgreSQL takes no text with a zero character, and no name has one.
    users = await gate.people.page(principal.tenant_id, after=after and after.replace("\0", ""), most=limit)
    return _unkept(UserPage(users, users[-1].name if len(users) == limit else None))


@post("/users", guards=_ADMIN, operation_id="createUser", summary="Create a user")
async def create_user(
    data: JSONBody[NewUser],
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
    devices: NamedDependency[Devices],
    request: Request[Any, Any, Any],
) -> Response[User]:
    """Errors: 400 `name_invalid`, `password_short`, `password_long`, `device_of_driver`; 409 `user_exists`."""
    check_name("user", data.name)
    if data.display_name is not None:
        check_name("user", data.display_name)
    user = await gate.people.create(
        principal,
        data.name,
        data.role,
        gate.client_info(request.scope),
        password=data.password,
        device_id=await _device_id(devices, principal, data.device),
        display_name=data.display_name,
    )
    return _unkept(user, status_code=201)


@patch("/users/{name:str}", guards=_ADMIN, operation_id="changeUser", summary="Change a user")
async def change_user(  # noqa: PLR0917 - the framework passes by name
    name: str,
    data: JSONBody[UserChange],
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
    devices: NamedDependency[Devices],
    request: Request[Any, Any, Any],
) -> Response[User]:
    """Role, status, password or device. Ends the user's sessions; the user's tokens count anew within a second.

    Errors: as for a new user; 404 `user_unknown`; 409 `last_admin`.
    """
    device_id = msgspec.UNSET if data.device is msgspec.UNSET else await _device_id(devices, principal, data.device)
    change = Change(role=data.role, status=data.status, password=data.password, device_id=device_id)
    return _unkept(await gate.people.change(principal, asgi.unveil(name), change, gate.client_info(request.scope)))


@get("/tokens", guards=_ADMIN, operation_id="listTokens", summary="List tokens")
async def list_tokens(
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
    before: _Before = None,
    limit: _Limit = 100,
) -> Response[TokenPage]:
    """The tokens of the tenant, newest first, with their last use; the tokens themselves are not kept."""
    tokens = await gate.grants.page(principal.tenant_id, before_id=before, most=limit)
    return _unkept(TokenPage(tokens, tokens[-1].token_id if len(tokens) == limit else None))


@post("/tokens", guards=_ADMIN, operation_id="createToken", summary="Create a token")
async def create_token(
    data: JSONBody[NewToken],
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
    devices: NamedDependency[Devices],
    request: Request[Any, Any, Any],
) -> Response[TokenMade]:
    """Errors: 400 `name_invalid`, `scope_unknown`, `life_invalid`; 404 `user_unknown`; 403 `device_limit`."""
    device_id = user_id = None
    if data.kind == "device":
        device_id = await _device_id(devices, principal, data.name)
    elif data.kind == "user":
        user_id = await gate.people.find_id(principal.tenant_id, data.name)
    bearer = TokenSubject(data.kind, data.name, device_id, user_id)
    token_id, token = await gate.grants.create(
        principal, bearer, gate.client_info(request.scope), scopes=data.scopes, life_secs=data.life_secs
    )
    return _unkept(TokenMade(token_id, token), status_code=201)


@delete("/tokens/{token_id:int}", guards=_ADMIN, operation_id="revokeToken", summary="Revoke a token")
async def revoke_token(
    token_id: int,
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
    request: Request[Any, Any, Any],
) -> None:
    """It stops within a second on every worker, and its sockets are closed. Errors: 404 `token_unknown`."""
    if not 0 < token_id <= _MAX_ID:
        raise Problem("token_unknown", f"There is no token {token_id}.", status=404)
    gate.revoke(await gate.grants.revoke(principal, token_id, gate.client_info(request.scope)))


@get("/audit", guards=_ADMIN, operation_id="listAudit", summary="Who changed what")
async def list_audit(
    principal: NamedDependency[Principal],
    app_pool: NamedDependency[asyncpg.Pool],
    before: _Before = None,
    limit: _Limit = 100,
) -> Response[AuditPage]:
    """Changes to users, tokens and sessions of the tenant, newest first, in pages."""
    entries = await audit.page(app_pool, principal.tenant_id, before_id=before, most=limit)
    return _unkept(AuditPage(entries, entries[-1].audit_id if len(entries) == limit else None))


admin_router = Router(
    "/api",
    route_handlers=[
        list_sessions,
        end_session,
        list_user_sessions,
        list_users,
        create_user,
        change_user,
        list_tokens,
        create_token,
        revoke_token,
        list_audit,
    ],
    tags=["Access"],
)


def _unkept(body: Any, *, status_code: int = 200) -> Response[Any]:  # noqa: ANN401 - a struct of this file
    """An answer that no cache keeps: it may hold a token, and is out of date with the next change."""
    return Response(body, status_code=status_code, headers=_NO_STORE)


async def _device_id(devices: Devices, admin: Principal, name: str | None) -> int | None:
    """The number of a device, which is created if it is missing."""
    if name is None:
        return None
    check_name("device", name)
    return await devices.resolve(admin.tenant_id, name)
