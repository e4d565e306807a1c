"""The one way in: raw ASGI callables call `authenticate`, Litestar's routes have it called for them.

A route is closed unless it says `public=True`; a guard then asks for a permission, never for a role.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from fleetwire.access.auth import AuthServices
from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.access.identity.bearer import presented_token
from fleetwire.access.identity.principal import Permission, Principal
from fleetwire.errors import Problem

STATE_KEY: Final = "fleetwire_principal"
FOUND_KEY: Final = "fleetwire.found"
"""In a raw scope: the principal, or the problem, that was found before the request came to its route."""
PUBLIC: Final = "public"


async def authenticate(scope: Any, credentials: Authenticator) -> Principal:  # noqa: ANN401 - the raw ASGI dictionary
    """Who sent an HTTP request or a WebSocket handshake.

    Raises:
        Problem: 401 `token_missing`, `token_invalid`, `token_expired` or `token_revoked`; 403 `origin_forbidden`.
        Overloaded: 503 `access_busy` or `access_unavailable`.
    """
    found = scope.get(FOUND_KEY)
    if found is None:
        token = presented_token(scope, credentials.allowed_origins)
        return credentials.remembered(token) or await credentials.principal(token)
    if isinstance(found, Problem):
        del scope[FOUND_KEY]
        try:
            raise found
        finally:
            del found  # A problem that knows the frame that knows it waits for the collector.
    return cast("Principal", found)


class AccessMiddleware(ASGIMiddleware):
    """Puts the principal into the scope's state, or lets the request fail; skips handlers with `public=True`."""

    exclude_opt_key = PUBLIC

    def __init__(self, gate: Callable[[], AuthServices]) -> None:
        """`gate` is asked per request: the application is put together before its pool is open."""
        self._gate = gate

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Authenticates, then hands on."""
        principal = await authenticate(scope, self._gate().credentials)
        scope.setdefault("state", {})[STATE_KEY] = principal
        await next_app(scope, receive, send)


def principal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    """The principal that the middleware found.

    Raises:
        Problem: 401 `token_missing`: the middleware did not run, and who asks is unknown.
    """
    principal = connection.scope.get("state", {}).get(STATE_KEY)
    if not isinstance(principal, Principal):
        raise Problem("token_missing", "Send `Authorization: Bearer ...`, or log in first.", status=401)
    return principal


@dataclass(frozen=True, slots=True)
class Requires:
    """A guard that lets pass who has a permission, which can be read from it: a cached route asks for the same.

    Who only has one of `or_else` sees less, and is never answered from what is kept for others.
    """

    permission: Permission
    or_else: tuple[Permission, ...] = ()

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        """Lets pass, or answers 403 `forbidden`."""
        principal_of(connection).require(self.permission, *self.or_else)


def requires(permission: Permission, *or_else: Permission) -> Requires:
    """A guard that lets pass who has one of the permissions; answers 403 `forbidden` to others."""
    return Requires(permission, or_else)
