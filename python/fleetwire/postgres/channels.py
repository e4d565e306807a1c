"""How a write is told as a PostgreSQL notification: apart, so that the command line need not load the cache."""

from typing import Final

CHANNEL: Final = "fleetwire_outdated"
COMMAND: Final = "command"
"""The sender's name of the command line; a worker's is a random word."""


def payload(sender: str, tenant_id: int, tag: str) -> str:
    """What is notified of a write."""
    return f"{sender} {tenant_id} {tag}"
