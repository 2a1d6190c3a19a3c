"""Rate-limits wrong credentials by client address.

Many users may share an address, behind a NAT or an unknown proxy. So a credential that was valid once since
the server started is always checked, however many wrong ones come from its address; only unknown ones are
rejected unchecked. Memory is bounded: the least recent entries are evicted.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from typing import Final, TypeVar

from echoic.auth.keys import compute_digest
from echoic.auth.network import IpAddress, IpNetwork
from echoic.errors import AccessRefused, ErrorCode

_ClientSource = IpAddress | IpNetwork | None

_SECONDS_PER_MINUTE: Final = 60.0
#: The maximum number of remembered addresses, and of remembered valid credentials.
_MAX_ENTRIES: Final = 10_000
#: The maximum number of minutes for which an address is blocked.
_MAX_BLOCK_MINUTES: Final = 10
#: The prefix of the IPv6 network that counts as one address.
#: Source: RFC 6177, section 2: no site gets less than a /64.
_IPV6_SITE_PREFIX: Final = 64
_K = TypeVar("_K")
_V = TypeVar("_V")


class AuthThrottle:
    """A leaky bucket of wrong credentials per client address.

    Args:
        max_per_minute: Wrong credentials that are checked per address and minute (and at once). 0 means no
            limit.
        clock: Returns the seconds of a monotonic clock.
        count_outcome: Called with ``wrong`` for a wrong credential, ``unheard`` for an unchecked one.
    """

    def __init__(
        self,
        max_per_minute: float,
        clock: Callable[[], float] = time.monotonic,
        count_outcome: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._max_per_minute = max_per_minute
        self._clock = clock
        self._count_outcome = count_outcome
        self._failures: OrderedDict[_ClientSource, tuple[float, float]] = OrderedDict()
        self._known_good: OrderedDict[bytes, None] = OrderedDict()

    def check_credential(self, address: IpAddress | None, credential: str) -> None:
        """Check that a credential from an address may be verified.

        Raises:
            AccessRefused: Too many wrong ones came from the address: ``server_busy``, with ``retry_after`` in
                seconds.
        """
        excess = self._count_recent_failures(_group_address(address)) - self._max_per_minute + 1
        if not self._max_per_minute or excess <= 0 or compute_digest(credential) in self._known_good:
            return
        self._count_outcome("unheard")
        seconds = math.ceil(excess * _SECONDS_PER_MINUTE / self._max_per_minute)
        raise AccessRefused(
            ErrorCode.SERVER_BUSY,
            f"Too many wrong keys from this address. Try again in {seconds} s.",
            retry_after=seconds,
        )

    def record_failure(self, address: IpAddress | None) -> None:
        """Record a wrong credential from an address."""
        self._count_outcome("wrong")
        if self._max_per_minute:
            source = _group_address(address)
            level = min(self._count_recent_failures(source) + 1, _MAX_BLOCK_MINUTES * self._max_per_minute)
            _store_bounded(self._failures, source, (level, self._clock()))

    def record_success(self, credential: str) -> None:
        """Record a valid credential."""
        if self._max_per_minute:
            _store_bounded(self._known_good, compute_digest(credential), None)

    def _count_recent_failures(self, source: _ClientSource) -> float:
        """Return the bucket's level: failures minus what has leaked out since."""
        level, since = self._failures.get(source, (0.0, 0.0))
        return max(0.0, level - (self._clock() - since) * self._max_per_minute / _SECONDS_PER_MINUTE)


def _group_address(address: IpAddress | None) -> _ClientSource:
    if isinstance(address, IPv6Address):
        return IPv6Network((address, _IPV6_SITE_PREFIX), strict=False)
    return address


def _store_bounded(cache: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > _MAX_ENTRIES:
        cache.popitem(last=False)
