"""The client's side: posting batches as a sender, and following a feed as a watcher."""

from fleetwire.client.batches import (
    LOCATION_PATH,
    BatchClient,
    Posted,
    Receipt,
    authorization,
    endpoint,
    is_temporary,
    read_problem,
    read_receipt,
    wait_secs,
)
from fleetwire.client.feed import Feed, FeedFilter, Update

__all__ = [
    "LOCATION_PATH",
    "BatchClient",
    "Feed",
    "FeedFilter",
    "Posted",
    "Receipt",
    "Update",
    "authorization",
    "endpoint",
    "is_temporary",
    "read_problem",
    "read_receipt",
    "wait_secs",
]
