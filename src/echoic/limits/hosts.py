"""Names that a server is called by: those of the public domain system anyone may point at any address.

A page of ``evil.example`` whose name is made to mean ``127.0.0.1`` once it is loaded counts as the server's
own for the browser, and reads what it answers (DNS rebinding). What the browser cannot change is the ``Host``
that it sends: the name that it asked for.
"""

from __future__ import annotations

import ipaddress
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
