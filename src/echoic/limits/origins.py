"""Which web pages may open streams: browsers say whose page asks, other programs say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from echoic.limits.hosts import is_loopback_name

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ANY = "*"
_FORM = (
    "scheme and name without a path, commas between several, as in https://a.example, "
    "https://b.example:8443; * alone is any"
)


@dataclass(frozen=True, slots=True)
class Origins:
    """Pages that may.

    Attributes:
        allowed: Origins such as ``https://example.org`` beside the server's own; ``*``: any.
        local: Whether pages that the user's own machine serves may too, at any port.
    """

    allowed: frozenset[str] = frozenset()
    local: bool = False

    @classmethod
    def parse(cls, text: str, *, local: bool = False) -> Origins:
        """Return the origins in a list such as ``https://a.example, https://b.example:8443``.

        Args:
            text: The list.
            local: Whether pages of the user's own machine may too.

        Raises:
            ValueError: Something in it is no origin.
        """
        items = [item.strip().lower().rstrip("/") for item in text.split(",")]
        for item in filter(None, items):
            if item not in (_ANY, "null") and _place(item) is None:
                raise ValueError(f"{item!r} is no origin: {_FORM}")
        return cls(frozenset(filter(None, items)), local)

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names in them, without ports; None: any."""
        if _ANY in self.allowed:
            return None
        places = [place for place in map(_place, self.allowed) if place is not None]
        return frozenset(name for _, name, _ in places)

    def admit(self, origin: str | None, host: str | None) -> bool:
        """Return whether a request may.

        Args:
            origin: Its ``Origin``; None: it comes from no browser.
            host: Its ``Host``, which names the server's own pages.
        """
        if origin is None or _ANY in self.allowed:
            return True
        origin = origin.strip().lower()
        return origin in self.allowed or _is_same(origin, host) or (self.local and _is_near(origin))


def _is_same(origin: str, host: str | None) -> bool:
    place = _place(origin)
    if place is None or not host:
        return False
    scheme, *rest = place
    # The scheme of the request is not known behind a proxy that ends TLS; the page's stands for it.
    ours = _place(f"{scheme}://{host.strip().lower()}")
    return ours is not None and list(ours[1:]) == rest


def _is_near(origin: str) -> bool:
    place = _place(origin)
    return place is not None and is_loopback_name(place[1])


def _place(origin: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if (
        not parts.hostname
        or _ANY in parts.hostname
        or port is None
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username
    ):
        return None
    return parts.scheme, parts.hostname, port
