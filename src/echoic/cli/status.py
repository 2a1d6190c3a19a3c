"""What a running server says about itself."""

import json
import ssl
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from echoic.client import ServerError
from echoic.client.address import LOOPBACK_HOSTS, redact_address, resolve_status_url
from echoic.client.failure import build_untrusted_error

#: Seconds a server may take to answer.
_REQUEST_TIMEOUT = 10.0


def fetch_models(address: str, key: str | None) -> list[dict[str, object]]:
    """Return the ``models`` of a server's status endpoint.

    Args:
        address: The server, in any form that ``stream_address`` takes.
        key: Its key.

    Raises:
        ServerError: No server answers there, or something else does.
        ValueError: That is no address.
    """
    url = resolve_status_url(address)
    request = Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})  # noqa: S310  # http(s) only
    opener = build_opener(ProxyHandler({})) if urlsplit(url).hostname in LOOPBACK_HOSTS else build_opener()
    try:
        with opener.open(request, timeout=_REQUEST_TIMEOUT) as answer:
            models = json.load(answer)["models"]
    except HTTPError as error:
        message = f"{redact_address(url)} answers, but not as an echoic server does (HTTP {error.code})."
        raise ServerError("unreachable", message) from None
    except OSError as error:
        if isinstance(error, URLError) and isinstance(error.reason, ssl.SSLCertVerificationError):
            raise build_untrusted_error(redact_address(url), error.reason) from None
        raise ServerError("unreachable", f"No echoic server answers at {redact_address(url)}.") from None
    except (ValueError, KeyError, TypeError):
        raise ServerError(
            "unreachable", f"What answers at {redact_address(url)} is no echoic server."
        ) from None
    return [model for model in models if isinstance(model, dict)]
