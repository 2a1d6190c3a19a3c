"""Which web pages may open streams: browsers say whose page asks, other programs say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from echoic.limits.hosts import is_loopback_name

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
