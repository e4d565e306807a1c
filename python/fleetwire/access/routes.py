"""Logging in and out, over HTTP.

These four routes open themselves: a session is renewed and ended with a token that may have expired, which the
middleware would refuse. They apply the same rules for where a token may stand and which page may send it.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody

from fleetwire.access.bearer import SESSION_COOKIE, check_own_page, is_secure, presented_token
from fleetwire.access.gate import Gate
from fleetwire.access.guards import principal_of
from fleetwire.access.principal import Principal
from fleetwire.access.sessions import SESSION_LIFE_SECS, Login

MAX_NAME_CHARS: Final = 200
MAX_PASSWORD_CHARS: Final = 1_024  # on the wire; what is a right password is said in `passwords.py`

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]

# An answer with a credential is nobody's to keep.
_NO_STORE: Final = {"Cache-Control": "no-store"}


class LoginForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's name is unique within its tenant."""

    tenant: _Name
    user: _Name
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PASSWORD_CHARS)]


class LoginDone(msgspec.Struct, frozen=True):
    """`token` is good until `expires_at` (ms since 1970) and can be renewed until two hours after the last renewal."""

    token: str
    expires_at: int
    user: str
    role: str
    tenant: str


class SessionShown(msgspec.Struct, frozen=True):
    """Who the credential of this request belongs to; `expires_at` in ms since 1970, null for one without an end."""

    kind: str
    role: str
    tenant: str
    user: str | None
    device: str | None
    expires_at: int | None


@post(
    "/login",
    public=True,
    status_code=200,
    operation_id="login",
    summary="Log in",
    description="Answers a token for 15 minutes and sets it as the cookie `fleetwire_session`. Errors: 401 "
    "`login_failed`, 403 `login_suspended`, 429 `login_rate`, 503 `login_busy`.",
    security=[],
)
async def login(
    data: JSONBody[LoginForm], request: Request[Any, Any, Any], gate: NamedDependency[Gate]
) -> Response[LoginDone]:
    """Counts the attempt first: what is over the rate costs no hash."""
    # A foreign page could otherwise log its visitor in as somebody else.
    check_own_page(request.scope, gate.credentials.allowed_origins, absent_is_fine=True)
    await gate.limits.login(gate.limits.addresses.network(request.scope), data.tenant, data.user)
    return _answer(await gate.sessions.login(data.tenant, data.user, data.password), request)


@get(
    "/session",
    operation_id="session",
    summary="Show whose credential this is",
    description="For any credential: ingest key, device token, user token or session.",
)
async def show_session(principal: NamedDependency[Principal]) -> Response[SessionShown]:
    """Says what the middleware found."""
    shown = SessionShown(
        kind=principal.kind,
        role=principal.role,
        tenant=principal.tenant,
        user=principal.user,
        device=principal.device,
        expires_at=principal.expires_at_millis,
    )
    return Response(shown, headers=_NO_STORE)


@post(
    "/session/renew",
    public=True,
    status_code=200,
    operation_id="renewSession",
    summary="Renew the session",
    description="Answers a new token and moves the session's end to two hours from now. The old token may have "
    "expired; the session must not have. Errors: 401 `token_expired`, `token_revoked`; 403 `login_suspended`.",
)
async def renew_session(request: Request[Any, Any, Any], gate: NamedDependency[Gate]) -> Response[LoginDone]:
    """Takes the token from the header or the cookie."""
    return _answer(await gate.sessions.renew(presented_token(request.scope, gate.credentials.allowed_origins)), request)


@post(
    "/logout",
    public=True,
    status_code=204,
    operation_id="logout",
    summary="Log out",
    description="Ends the session on every worker within a second, open sockets included, and drops the cookie.",
)
async def logout(request: Request[Any, Any, Any], gate: NamedDependency[Gate]) -> Response[None]:
    """Ends the session of the presented token."""
    await gate.sessions.logout(presented_token(request.scope, gate.credentials.allowed_origins))
    return Response(None, status_code=204, cookies=[_cookie("", 0, request)], headers=_NO_STORE)


def access_router() -> Router:
    """The routes under `/api`; they need `access_dependencies` on the application."""
    return Router("/api", route_handlers=[login, show_session, renew_session, logout], tags=["Access"])


def access_dependencies(gate: Callable[[], Gate]) -> dict[str, Provide]:
    """`gate` and `principal`, for these and for all other handlers."""

    def provide_principal(request: Request[Any, Any, Any]) -> Principal:
        return principal_of(request)

    return {
        "gate": Provide(gate, sync_to_thread=False),
        "principal": Provide(provide_principal, sync_to_thread=False),
    }


def _answer(done: Login, request: Request[Any, Any, Any]) -> Response[LoginDone]:
    body = LoginDone(done.token, done.expires_at_millis, done.user, done.role, done.tenant)
    # The cookie outlives its token by intent: a page that wakes up later can still renew.
    return Response(body, cookies=[_cookie(done.token, SESSION_LIFE_SECS, request)], headers=_NO_STORE)


def _cookie(value: str, life_secs: int, request: Request[Any, Any, Any]) -> Cookie:
    return Cookie(
        key=SESSION_COOKIE,
        value=value,
        max_age=life_secs,
        path="/",
        httponly=True,
        samesite="strict",
        secure=is_secure(request.scope),
    )
