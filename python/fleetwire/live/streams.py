"""Bounds on streamed downloads: in a worker, of a tenant, of a user. Each holds a page of the store in memory."""

from typing import Any, Final

from fleetwire.access.identity.principal import Principal
from fleetwire.access.limits.rate_limiter import limit_key
from fleetwire.errors import Overloaded, Problem
from fleetwire.runtime import asgi
from fleetwire.runtime.places import Bound, Exceeded, Places
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

RETRY_AFTER_SECS: Final = 5


class Streams:
    """The downloads under way in one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = Places()

    def take(self, scope: Any, principal: Principal) -> None:  # noqa: ANN401 - the raw ASGI dictionary
        """Counts a download until its exchange has ended.

        Raises:
            Problem: 429 `streams_limit`, of the user or the tenant.
            Overloaded: 503 `streams_full`, of the worker.
        """
        settings, tenant = self._settings, principal.tenant_id
        try:
            leave = self._places.take(
                Bound((tenant, limit_key(principal)), settings.user_streams, "user"),
                Bound(tenant, settings.tenant_streams, "tenant"),
                Bound("worker", settings.worker_streams, "worker"),
            )
        except Exceeded as exceeded:
            metrics.STREAMS_REFUSED.labels(exceeded.bound.name).inc()
            refusal = _refusal(exceeded.bound)
        else:
            asgi.at_end(scope, leave)
            return
        raise refusal


def _refusal(bound: Bound) -> Problem:
    if bound.name == "worker":
        return Overloaded("streams_full", "Too many downloads are under way.", retry_after_secs=RETRY_AFTER_SECS)
    return Problem(
        "streams_limit",
        f"This {bound.name} has as many downloads under way as it may: {bound.most}.",
        status=429,
        retry_after_secs=RETRY_AFTER_SECS,
    )
