"""Resolves the address of a server, in any form that users type, to the URLs of its endpoints."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit, urlunsplit

from echoic.protocol.constants import STATUS_PATH, STREAM_PATH

#: Address on which ``echoic serve`` listens by default.
DEFAULT_SERVER = "ws://127.0.0.1:8000"
#: Hosts that are never reached through a proxy.
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_ADDRESS_HINT = "The server's address must look like ws://host:port, http://host:port or host:port."
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}


def resolve_stream_url(address: str) -> str:
    """Return the WebSocket URL of a server's stream endpoint.

    Args:
        address: A full WebSocket URL, which stays as it is, or only a server: ``host:port``,
            ``http://host:port``, ``wss://host``.

    Raises:
        ValueError: The address has no host or another scheme than ws, wss, http, https.
    """
    parts = _parse_address(address)
    scheme = _WEBSOCKET_SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(_ADDRESS_HINT)
    path = parts.path if parts.path not in ("", "/") else STREAM_PATH
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def resolve_status_url(address: str) -> str:
    """Return the HTTP URL of the status endpoint of the server at ``address`` (any form).

    Raises:
        ValueError: As ``resolve_stream_url``.
    """
    parts = urlsplit(resolve_stream_url(address))
    return urlunsplit((_HTTP_SCHEMES[parts.scheme], parts.netloc, STATUS_PATH, "", ""))


def redact_address(address: str) -> str:
    """Return ``address`` without query and user part, which may hold a key: safe to print and log."""
    try:
        parts = _parse_address(address)
    except ValueError:
        return "the address given"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _parse_address(address: str) -> SplitResult:
    try:
        parts = urlsplit(address if "://" in address else f"ws://{address}")
        _ = parts.port  # reading it checks it
    except ValueError:
        raise ValueError(_ADDRESS_HINT) from None  # its text quotes the address, which may hold a key
    return parts
