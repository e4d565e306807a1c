"""Python client: posts batches of fixes, watches the live feed, receives and publishes events."""

from fleetwire.client.batches import (
    LOCATION_PATH,
    BatchClient,
    BatchReceipt,
    PostResult,
    authorization,
    endpoint,
    is_temporary,
    parse_problem,
    parse_receipt,
    retry_delay_secs,
)
from fleetwire.client.feed import Feed, FeedFilter, FeedUpdate

__all__ = [
    "LOCATION_PATH",
    "BatchClient",
    "BatchReceipt",
    "Feed",
    "FeedFilter",
    "FeedUpdate",
    "PostResult",
    "authorization",
    "endpoint",
    "is_temporary",
    "parse_problem",
    "parse_receipt",
    "retry_delay_secs",
]
