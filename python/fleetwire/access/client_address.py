"""Whose address a request comes from, and which addresses count as one client.

A header can claim anything, so only what a proxy of the operator's own wrote is believed: from the right, the first
address that is no such proxy. What a client wrote itself stands further left.
"""

import ipaddress
import re
from typing import Any, Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN: Final = "unknown"
_FOR = re.compile(r'for\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)
_PORT = re.compile(r"^\[(.*)\](?::\d+)?$|^([^:]*):\d+$")  # "[2001:db8::1]:4711", "192.0.2.1:4711"


class Addresses:
    """Finds the client behind the operator's proxies, of which `header` is the one that they write."""

    def __init__(self, trusted: tuple[Network, ...] = (), header: str = "x-forwarded-for") -> None:
        self._trusted = trusted
        self._header = header.encode()

    def network(self, scope: Any) -> str:  # noqa: ANN401 - the raw ASGI dictionary
        """The client's address, or the /64 of an IPv6 address, as text; the same text for the same client."""
        client = scope.get("client")
        address = _parsed(client[0] if client else "")
        if address is None:
            return UNKNOWN
        if self._trusted and self._is_trusted(address):
            address = self._behind(address, scope)
        return network_of(address)

    def _behind(self, proxy: ipaddress.IPv4Address | ipaddress.IPv6Address, scope: Any) -> Any:  # noqa: ANN401
        for claim in reversed(self._claims(scope)):
            claimed = _parsed(claim)
            if claimed is None:
                return proxy  # The proxy itself does not know, or does not say.
            proxy = claimed
            if not self._is_trusted(proxy):
                break
        return proxy

    def _claims(self, scope: Any) -> list[str]:  # noqa: ANN401
        """Addresses as the header has them, the one written last at the end."""
        value = ",".join(text.decode("latin-1") for name, text in scope["headers"] if name == self._header)
        if self._header == b"forwarded":
            # A part without a `for` hides a client: it must not be passed over.
            return [found.group(1).strip('"') if (found := _FOR.search(part)) else "" for part in value.split(",")]
        return value.split(",") if value else []

    def _is_trusted(self, address: Any) -> bool:  # noqa: ANN401
        return any(address in network for network in self._trusted)


def network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address, since a home is given a whole one."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def wider_network(network: str, prefix: int) -> str | None:
    """The larger network that the /64 of an IPv6 address lies in; None for an IPv4 address."""
    try:
        return str(ipaddress.IPv6Network(network).supernet(new_prefix=prefix))
    except ValueError:
        return None


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses with commas between.

    Raises:
        ValueError: one of them is neither.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = text.strip()
    if found := _PORT.match(text):
        text = found.group(1) or found.group(2)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
