"""Names that a server is called by: those of the public domain system anyone may point at any address.

A page of ``evil.example`` whose name is made to mean ``127.0.0.1`` once it is loaded counts as the server's
own for the browser, and reads what it answers (DNS rebinding). What the browser cannot change is the ``Host``
that it sends: the name that it asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

#: Names under these are not in the public domain system.
#: Source: RFC 6761 (localhost), 6762 (local), 8375 (home.arpa); ICANN 2024 (internal).
_PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".home.arpa", ".internal", ".lan")


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names that a server answers to: addresses, names that only its own network knows, and these.

    Attributes:
        names: In lower case, without ports; None: any.
    """

    names: frozenset[str] | None = frozenset()

    def is_allowed(self, host: str) -> bool:
        """Return whether a request with this ``Host`` is meant for it."""
        if self.names is None:
            return True
        name = _parse_host_name(host)
        return name is not None and (name in self.names or _is_private_name(name))


def is_loopback_name(name: str) -> bool:
    """Return whether a host's name, or its address without brackets, means the very machine that asks."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _parse_host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host.strip().lower()}")
        _ = parts.port  # which must be a number
    except ValueError:
        return None
    is_place = not (parts.path or parts.query or parts.fragment or parts.username)
    return parts.hostname.rstrip(".") if is_place and parts.hostname else None


def _is_private_name(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_PRIVATE_SUFFIXES)
    return True


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


_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ANY_ORIGIN = "*"
_FORMAT_HINT = (
    "scheme and name without a path, commas between several, as in https://a.example, "
    "https://b.example:8443; * alone is any"
)


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """Pages that may.

    Attributes:
        allowed: Origins such as ``https://example.org`` beside the server's own; ``*``: any.
        allow_loopback: Whether pages that the user's own machine serves may too, at any port.
    """

    allowed: frozenset[str] = frozenset()
    allow_loopback: bool = False

    @classmethod
    def from_text(cls, text: str, *, allow_loopback: bool = False) -> AllowedOrigins:
        """Return the origins in a list such as ``https://a.example, https://b.example:8443``.

        Args:
            text: The list.
            allow_loopback: Whether pages of the user's own machine may too.

        Raises:
            ValueError: Something in it is no origin.
        """
        items = [item.strip().lower().rstrip("/") for item in text.split(",")]
        for item in filter(None, items):
            if item not in (_ANY_ORIGIN, "null") and _parse_origin(item) is None:
                raise ValueError(f"{item!r} is no origin: {_FORMAT_HINT}")
        return cls(frozenset(filter(None, items)), allow_loopback)

    @property
    def host_names(self) -> frozenset[str] | None:
        """The names in them, without ports; None: any."""
        if _ANY_ORIGIN in self.allowed:
            return None
        places = [place for place in map(_parse_origin, self.allowed) if place is not None]
        return frozenset(name for _, name, _ in places)

    def is_allowed(self, origin: str | None, host: str | None) -> bool:
        """Return whether a request may.

        Args:
            origin: Its ``Origin``; None: it comes from no browser.
            host: Its ``Host``, which names the server's own pages.
        """
        if origin is None or _ANY_ORIGIN in self.allowed:
            return True
        origin = origin.strip().lower()
        return (
            origin in self.allowed
            or _is_same_origin(origin, host)
            or (self.allow_loopback and _is_loopback_origin(origin))
        )


def _is_same_origin(origin: str, host: str | None) -> bool:
    place = _parse_origin(origin)
    if place is None or not host:
        return False
    scheme, *rest = place
    # The scheme of the request is not known behind a proxy that ends TLS; the page's stands for it.
    ours = _parse_origin(f"{scheme}://{host.strip().lower()}")
    return ours is not None and list(ours[1:]) == rest


def _is_loopback_origin(origin: str) -> bool:
    place = _parse_origin(origin)
    return place is not None and is_loopback_name(place[1])


def _parse_origin(origin: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if (
        not parts.hostname
        or _ANY_ORIGIN in parts.hostname
        or port is None
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username
    ):
        return None
    return parts.scheme, parts.hostname, port
