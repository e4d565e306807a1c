"""Bounds on the WebSockets of a worker: in all, of a tenant, of a user or device, and of those without a credential."""

from typing import Final

from fleetwire.access.identity.principal import Principal
from fleetwire.access.limits.rate_limiter import limit_key
from fleetwire.errors import Overloaded, Problem
from fleetwire.runtime import connection_limits
from fleetwire.runtime.places import Bound, Exceeded, Leave, Places
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

RETRY_AFTER_SECS: Final = 30
TENANT_SHARE: Final = 0.8


class SocketPlaces:
    """The places of one worker; each is taken before the caller awaits anything."""

    def __init__(self, settings: Settings) -> None:
        max_sockets = connection_limits.max_sockets(settings)
        self._worker = Bound("worker", max_sockets, "worker")
        self._unauthenticated = Bound("unauthenticated", settings.unauthenticated_sockets, "unauthenticated")
        self._max_of_tenant = settings.tenant_sockets
        if max_sockets < settings.max_sockets:  # Open files are scarce: one tenant still leaves some to the others.
            self._max_of_tenant = min(settings.tenant_sockets, max(1, int(TENANT_SHARE * max_sockets)))
        self._max_of_user = settings.user_sockets
        self._places = Places()

    def take(self) -> Leave:
        """Takes a place of the worker.

        Raises:
            Overloaded: 503 `sockets_full`.
        """
        try:
            return self._places.take(self._worker)
        except Exceeded as exceeded:
            _count(exceeded)
        raise Overloaded(
            "sockets_full", "This worker holds as many sockets as it may.", retry_after_secs=RETRY_AFTER_SECS
        )

    def take_unauthenticated(self) -> Leave | None:
        """Takes a place of those whose credential is yet to come; None where there is none left."""
        try:
            return self._places.take(self._unauthenticated)
        except Exceeded as exceeded:
            _count(exceeded)
            return None

    def take_for(self, principal: Principal) -> Leave:
        """Takes a place of a tenant and, within it, of a user or device. An ingest key has its tenant's.

        Raises:
            Problem: 429 `sockets_limit`.
        """
        bounds = [Bound(principal.tenant_id, self._max_of_tenant, "tenant")]
        if principal.kind != "ingest":
            bounds.append(Bound((principal.tenant_id, limit_key(principal)), self._max_of_user, "user"))
        try:
            return self._places.take(*bounds)
        except Exceeded as exceeded:
            _count(exceeded)
            bound = exceeded.bound
        raise Problem(
            "sockets_limit",
            f"This {bound.name} has as many sockets open on this worker as it may: {bound.most}.",
            status=429,
            retry_after_secs=RETRY_AFTER_SECS,
        )


def _count(exceeded: Exceeded) -> None:
    metrics.SOCKETS_REFUSED.labels(exceeded.bound.name).inc()
