"""How many batches and fixes a sender may send: one call into the core each, and nothing else when it may.

A batch is counted before its body is read, its fixes once they are decoded. What a device sends is taken from its
tenant's bucket as well. An ingest key speaks for many devices: its batches are its tenant's.
"""

from fleetwire.access.identity.principal import Principal
from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.ingest.decode import Batch
from fleetwire.runtime import clock


class IngestLimit:
    """What both doors, HTTP and socket, ask."""

    def __init__(self, limits: RateLimiter) -> None:
        self.limits = limits

    def request(self, principal: Principal) -> None:
        """Counts a batch, good or bad.

        Raises:
            RateLimited: it shall not be looked at.
        """
        policies = self.limits.policies(principal.tenant)
        device = principal.device
        name = "ingest_tenant" if device is None else "ingest"
        self.limits.take(policies[name], principal.tenant, device or "", 1, clock.monotonic_secs())

    def fixes(self, principal: Principal, batch: Batch, now_secs: float) -> None:
        """Counts the fixes of a batch, those included that are refused.

        Raises:
            RateLimited: none of them is stored; the sender keeps them.
        """
        policy = self.limits.policies(principal.tenant)["fixes"]
        device = principal.device or batch.device or ""
        self.limits.take(policy, principal.tenant, device, batch.accepted + batch.rejected, now_secs)
