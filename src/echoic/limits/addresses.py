"""Where a request comes from, and whether it may: exact addresses and networks."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AddressList:
    """Addresses, one by one and as networks.

    Attributes:
        networks: An address alone is a network of one.
    """

    networks: tuple[IpNetwork, ...] = ()

    @classmethod
    def from_text(cls, text: str) -> AddressList:
        """Return the networks in a list such as ``192.0.2.7, 10.0.0.0/8, fd00::/8``.

        Raises:
            ValueError: Something in it is neither an address nor a network.
        """
        found = []
        for item in filter(None, (item.strip() for item in text.split(","))):
            try:
                found.append(ipaddress.ip_network(item))
            except ValueError:
                raise ValueError(f"{item!r} is neither an address nor a network such as 10.0.0.0/8") from None
        return cls(tuple(found))

    def __bool__(self) -> bool:
        return bool(self.networks)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IpAddress) and any(address in network for network in self.networks)


def parse_address(text: str) -> IpAddress | None:
    """Return the address that ``text`` is, without its port; IPv4 in IPv6 as IPv4. None: it is none."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def find_client_address(
    peer: str | None, forwarded: Iterable[str], trusted_proxies: AddressList
) -> IpAddress | None:
    """Return where a request comes from; None: that cannot be told.

    ``X-Forwarded-For`` counts only as far as proxies that are trusted wrote it: read from its end, the first
    address that is none of theirs is the client's. What stands before it anyone may have written.

    Args:
        peer: The address at the other end of the connection.
        forwarded: The values of ``X-Forwarded-For``, in the order of the headers.
        trusted_proxies: Those that are trusted.
    """
    address = parse_address(peer or "")
    hops = [hop for value in forwarded for hop in value.split(",")]
    while address in trusted_proxies and hops:
        address = parse_address(hops.pop())
    return address
