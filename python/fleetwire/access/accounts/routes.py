"""Logging in and out, over HTTP.

Login, renewal and logout open themselves: a session is renewed by its refresh token and ended with a token that may
have expired, which the middleware would refuse. They apply the same rules for which page may send them.

A page keeps both tokens in cookies that no script reads, and is told neither of them. A
program, which sends no Origin, gets them in the answer.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody

from fleetwire.access.accounts.device_cookie import DEVICE_COOKIE
from fleetwire.access.accounts.device_cookie import LIFE_SECS as DEVICE_LIFE_SECS
from fleetwire.access.accounts.sessions import Login
from fleetwire.access.auth import AuthServices
from fleetwire.access.identity.bearer import (
    REFRESH_COOKIE,
    SESSION_COOKIE,
    check_own_page,
    cookie_name,
    cookie_of,
    is_secure,
    presented_token,
    refresh_cookie,
)
from fleetwire.access.identity.guards import principal_of, requires
from fleetwire.access.identity.principal import Principal
from fleetwire.errors import Problem
from fleetwire.runtime import clock

MAX_NAME_CHARS: Final = 200
MAX_PASSWORD_CHARS: Final = 1_024  # on the wire; what is a right password is said in `passwords.py`

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]

# Without TLS the only paths that the browser sends these cookies to.
_PATHS: Final = {REFRESH_COOKIE: "/api/session/renew", DEVICE_COOKIE: "/api/login"}

# An answer with a credential is nobody's to keep.
_NO_STORE: Final = {"Cache-Control": "no-store"}


class LoginForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's name is unique within its tenant."""

    tenant: _Name
    user: _Name
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PASSWORD_CHARS)]


class RenewForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program's renewal. Without a body the token is the Authorization header's, or that of a page's cookie."""

    refresh_token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class PasswordForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The old password of the user who asks, and the new one."""

    old_password: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PASSWORD_CHARS)]
    new_password: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD_CHARS)]


class LoginDone(msgspec.Struct, frozen=True):
    """`token` is good until `expires_at`, the session until `session_expires_at` unless it is renewed; ms since 1970.

    `refresh_token` is good for one renewal. Both tokens are null for a page, whose cookies have them.
    """

    token: str | None
    expires_at: int
    refresh_token: str | None
    session_expires_at: int
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
    description="Answers a token for 15 minutes and a refresh token; a page gets both as cookies only. A session whose "
    "cookie the page sends along ends. Errors: "
    "401 `login_failed`, 403 `login_suspended`, 429 `login_rate`, 503 `login_busy`.",
    security=[],
)
async def login(
    data: JSONBody[LoginForm], request: Request[Any, Any, Any], gate: NamedDependency[AuthServices]
) -> Response[LoginDone]:
    """Counts the attempt first: what is over the rate costs no hash."""
    # A foreign page could otherwise log its visitor in as somebody else.
    check_own_page(request.scope, gate.credentials.allowed_origins, absent_is_fine=True)
    network = gate.limits.addresses.network(request.scope)
    known = await gate.device_cookies.read(cookie_of(request.scope, DEVICE_COOKIE))
    is_known = known is not None and (known.tenant, known.user) == (data.tenant, data.user)
    if known is not None and not is_known:
        # The door has let it pass as a known browser, and it is none to this user.
        await gate.limits.ask(gate.limits.policies()["anonymous"], network, "")
    browser_id = known.browser_id if known is not None and is_known else None
    await gate.limits.login(network, data.tenant, data.user, browser_id=browser_id)
    done = await gate.sessions.login(data.tenant, data.user, data.password, gate.client_info(request.scope))
    if _is_page(request) and (former := cookie_of(request.scope, SESSION_COOKIE)) is not None:
        # A page has one session: the cookie of the one before is about to be replaced.
        with suppress(Problem):
            await gate.sessions.logout(former)
    answer = _answer(done, request, by_page=_is_page(request))
    if _is_page(request) and not is_known:
        marked = await gate.device_cookies.sign(data.tenant, data.user, now_secs=clock.now_millis() // 1000)
        answer.cookies.append(_cookie(DEVICE_COOKIE, marked, DEVICE_LIFE_SECS, request))
    return answer


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
    description="Answers new tokens for the newest refresh token of a session, given as `refresh_token` or by the "
    "cookie, and moves the session's end to two hours from now; a driver's ends 8 hours after the login. A refresh "
    "token that was used before ends its session. Errors: 401 `token_expired`, `token_revoked`, `refresh_reused`; 403 "
    "`login_suspended`.",
    security=[],
)
async def renew_session(
    request: Request[Any, Any, Any], gate: NamedDependency[AuthServices], data: JSONBody[RenewForm | None] = None
) -> Response[LoginDone]:
    """Takes the refresh token from the body, the Authorization header or the cookie."""
    came_from, origins = gate.client_info(request.scope), gate.credentials.allowed_origins
    if data is not None:
        check_own_page(request.scope, origins, absent_is_fine=True)
        return _answer(await gate.sessions.renew(data.refresh_token, came_from), request, by_page=_is_page(request))
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        presented = presented_token(request.scope, origins)
        return _answer(await gate.sessions.renew(presented, came_from), request, by_page=_is_page(request))
    presented = refresh_cookie(request.scope, origins)
    return _answer(await gate.sessions.renew(presented, came_from, by_page=True), request, by_page=True)


@post(
    "/password",
    guards=[requires("account")],
    status_code=204,
    operation_id="changePassword",
    summary="Change your password",
    description="With the old one, by a user who is logged in; it ends the user's other sessions. Errors: 400 "
    "`password_short`, `password_long`, `password_common`; 403 `session_needed`, `password_wrong`; 429 `login_rate`; "
    "503 `login_busy`.",
)
async def change_password(
    data: JSONBody[PasswordForm],
    request: Request[Any, Any, Any],
    principal: NamedDependency[Principal],
    gate: NamedDependency[AuthServices],
) -> Response[None]:
    """Counts as a login: who has a session must not guess the password faster than others."""
    await gate.limits.login(gate.limits.addresses.network(request.scope), principal.tenant, principal.user or "")
    await gate.people.change_own_password(
        principal, data.old_password, data.new_password, gate.client_info(request.scope)
    )
    return Response(None, status_code=204, headers=_NO_STORE)


@post(
    "/logout",
    public=True,
    status_code=204,
    operation_id="logout",
    summary="Log out",
    description="Ends the session on every worker within a second, open sockets included, and drops the cookie.",
)
async def logout(request: Request[Any, Any, Any], gate: NamedDependency[AuthServices]) -> Response[None]:
    """Ends the session of the presented token."""
    await gate.sessions.logout(presented_token(request.scope, gate.credentials.allowed_origins))
    gone = [_cookie(SESSION_COOKIE, "", 0, request), _cookie(REFRESH_COOKIE, "", 0, request)]
    return Response(None, status_code=204, cookies=gone, headers=_NO_STORE)


def access_router() -> Router:
    """The routes under `/api`; they need `access_dependencies` on the application."""
    return Router("/api", route_handlers=[login, show_session, renew_session, change_password, logout], tags=["Access"])


def access_dependencies(gate: Callable[[], AuthServices]) -> dict[str, Provide]:
    """`gate` and `principal`, for these and for all other handlers."""

    def provide_principal(request: Request[Any, Any, Any]) -> Principal:
        return principal_of(request)

    return {
        "gate": Provide(gate, sync_to_thread=False),
        "principal": Provide(provide_principal, sync_to_thread=False),
    }


def _is_page(request: Request[Any, Any, Any]) -> bool:
    """A browser says by an Origin which page sends a POST; nothing else does."""
    return "origin" in request.headers


def _answer(done: Login, request: Request[Any, Any, Any], *, by_page: bool) -> Response[LoginDone]:
    body = LoginDone(
        token=None if by_page else done.token,
        expires_at=done.expires_at_millis,
        refresh_token=None if by_page else done.refresh_token,
        session_expires_at=done.session_ends_at_millis,
        user=done.user,
        role=done.role,
        tenant=done.tenant,
    )
    # The cookies outlive the token by intent: a page that wakes up later can still renew.
    life_secs = max(1, (done.session_ends_at_millis - clock.now_millis()) // 1000)
    cookies = [_cookie(SESSION_COOKIE, done.token, life_secs, request)]
    if by_page and done.refresh_token is not None:
        cookies.append(_cookie(REFRESH_COOKIE, done.refresh_token, life_secs, request))
    return Response(body, cookies=cookies, headers=_NO_STORE)


def _cookie(name: str, value: str, life_secs: int, request: Request[Any, Any, Any]) -> Cookie:
    return Cookie(
        key=cookie_name(name, request.scope),
        value=value,
        max_age=life_secs,
        # The prefix that TLS brings wants the whole host.
        path="/" if is_secure(request.scope) else _PATHS.get(name, "/"),
        httponly=True,
        samesite="strict",
        secure=is_secure(request.scope),
    )
