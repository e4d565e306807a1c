"""Where a request came from, as far as it is worth keeping: beside a session, and in the audit log."""

from dataclasses import dataclass
from typing import Any, Final

from fleetwire.access.client_address import Addresses
from fleetwire.runtime import asgi

MAX_AGENT_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """The client's address (of an IPv6 one the /64) and what it calls itself; None where that is not known."""

    address: str | None = None
    user_agent: str | None = None


NOWHERE: Final = ClientInfo()


def read_client_info(scope: Any, addresses: Addresses) -> ClientInfo:  # noqa: ANN401 - the raw ASGI dictionary
    """Of a raw ASGI scope. What a client says of itself is cut and cleaned: people read it in a list."""
    agent = asgi.header(scope, b"user-agent")[:MAX_AGENT_CHARS]
    return ClientInfo(
        address=addresses.network(scope),
        user_agent="".join(char if char.isprintable() else "?" for char in agent) or None,
    )
