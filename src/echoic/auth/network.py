"""Client addresses, allowed ``Host`` headers (against DNS rebinding) and allowed origins."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Suffixes of names that public DNS does not resolve.
#: Source: RFC 6761 (localhost), 6762 (local), 8375 (home.arpa); ICANN 2024 (internal).
_PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".home.arpa", ".internal", ".lan")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ANY_ORIGIN: Final = "*"
_ORIGIN_FORMAT_HINT: Final = (
    "write scheme and host without a path, separated by commas, as in https://a.example, "
    "https://b.example:8443; a single * allows any origin"
)


# ---- addresses


@dataclass(frozen=True, slots=True)
class AddressList:
    """A list of addresses and networks."""

    #: The networks; a single address is a network of one.
    networks: tuple[IpNetwork, ...] = ()

    @classmethod
    def from_text(cls, text: str) -> AddressList:
        """Parse a list such as ``192.0.2.7, 10.0.0.0/8, fd00::/8``.

        Raises:
            ValueError: An item is neither an address nor a network.
        """
        networks = []
        for item in filter(None, (item.strip() for item in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(item))
            except ValueError:
                raise ValueError(f"{item!r} is neither an address nor a network such as 10.0.0.0/8") from None
        return cls(tuple(networks))

    def __bool__(self) -> bool:
        return bool(self.networks)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IpAddress) and any(address in network for network in self.networks)


def parse_address(text: str) -> IpAddress | None:
    """Parse an address with or without a port; an IPv4-mapped IPv6 address becomes IPv4.

    Returns:
        The address, or None if the text is not one.
    """
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
    """Return the address of a request's client, or None if it is unknown.

    ``X-Forwarded-For`` is read from its end: the first address that is not a trusted proxy is the client's. A
    client may have written anything that stands before it.

    Args:
        peer: The address at the other end of the connection.
        forwarded: The values of ``X-Forwarded-For``, in the order of the headers.
        trusted_proxies: Proxies whose ``X-Forwarded-For`` is believed.
    """
    address = parse_address(peer or "")
    hops = [hop for value in forwarded for hop in value.split(",")]
    while address in trusted_proxies and hops:
        address = parse_address(hops.pop())
    return address


# ---- hosts


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The ``Host`` headers that a server accepts: addresses, private names, and listed names.

    After DNS rebinding the browser lets a page of ``evil.example`` read what the server answers. Its requests
    still carry ``Host: evil.example``, which a page cannot change.
    """

    #: Further accepted names, in lower case and without ports. If None, every host is accepted.
    names: frozenset[str] | None = frozenset()

    def is_allowed(self, host: str) -> bool:
        """Return whether a ``Host`` header is accepted."""
        if self.names is None:
            return True
        name = _parse_host_name(host)
        return name is not None and (name in self.names or _is_private_name(name))


def is_loopback_name(name: str) -> bool:
    """Return whether a host name, or an address without brackets, is a loopback one."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _parse_host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host.strip().lower()}")
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError:
        return None
    is_bare = not (parts.path or parts.query or parts.fragment or parts.username)
    return parts.hostname.rstrip(".") if is_bare and parts.hostname else None


def _is_private_name(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_PRIVATE_SUFFIXES)
    return True


# ---- origins


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """The origins whose pages may use the server; its own origin is always allowed."""

    #: Further origins, in lower case; ``*`` is any.
    allowed: frozenset[str] = frozenset()
    #: Whether pages of loopback hosts are allowed too.
    allow_loopback: bool = False

    @classmethod
    def from_text(cls, text: str, *, allow_loopback: bool = False) -> AllowedOrigins:
        """Parse a list such as ``https://a.example, https://b.example:8443``.

        Raises:
            ValueError: An item is not an origin.
        """
        items = [item.strip().lower().rstrip("/") for item in text.split(",")]
        for item in filter(None, items):
            if item not in (_ANY_ORIGIN, "null") and _parse_origin(item) is None:
                raise ValueError(f"{item!r} is not an origin: {_ORIGIN_FORMAT_HINT}")
        return cls(frozenset(filter(None, items)), allow_loopback)

    @property
    def host_names(self) -> frozenset[str] | None:
        """The host names of the listed origins, without ports, or None if every origin is allowed."""
        if _ANY_ORIGIN in self.allowed:
            return None
        origins = (origin for origin in map(_parse_origin, self.allowed) if origin is not None)
        return frozenset(name for _, name, _ in origins)

    def is_allowed(self, origin: str | None, host: str | None) -> bool:
        """Return whether a request may use the server.

        Args:
            origin: The ``Origin`` header, or None if the request does not come from a browser.
            host: The ``Host`` header, which names the server's own origin.
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
    parsed = _parse_origin(origin)
    if parsed is None or not host:
        return False
    scheme, *address = parsed
    # Behind a proxy that terminates TLS the request's scheme is unknown: assume the page's.
    own = _parse_origin(f"{scheme}://{host.strip().lower()}")
    return own is not None and list(own[1:]) == address


def _is_loopback_origin(origin: str) -> bool:
    parsed = _parse_origin(origin)
    return parsed is not None and is_loopback_name(parsed[1])


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
