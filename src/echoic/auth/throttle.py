"""How many wrong credentials are looked at, by the address that they come from.

Behind one address there may be an office, or a proxy that nobody told us of. So a credential that was good
once since the server started is always looked at, however many wrong ones come from the same address; what
waits is what was never seen before. Memory is bounded: what was longest not heard of is forgotten.
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
#: Addresses, and good credentials, that are remembered.
_MOST: Final = 10_000
#: Minutes after which an address is heard again, whatever it did.
_MAX_BLOCK_MINUTES: Final = 10
#: Who has one address of IPv6 has as many as a network of this prefix has.
#: Source: RFC 6177, section 2: no site gets less than a /64.
_IPV6_SITE_PREFIX: Final = 64
_K = TypeVar("_K")
_V = TypeVar("_V")


class AuthThrottle:
    """Counts wrong credentials.

    Args:
        max_per_minute: Wrong ones of one address that are looked at in a minute, and as many at once; 0: all.
        clock: Seconds of a clock that never goes back.
        count_outcome: Called with ``record_failure``, or ``unheard`` for one that was not looked at.
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
        """Return if a credential from there is to be looked at.

        Raises:
            AccessRefused: ``server_busy`` with ``retry_after`` in seconds: too many wrong ones came.
        """
        excess = self._count_recent_failures(_group_address(address)) - self._max_per_minute + 1
        if not self._max_per_minute or excess <= 0 or compute_digest(credential) in self._known_good:
            return
        self._count_outcome("unheard")
        seconds = math.ceil(excess * _SECONDS_PER_MINUTE / self._max_per_minute)
        raise AccessRefused(
            ErrorCode.SERVER_BUSY,
            f"Too many wrong keys came from this address. Please try again in {seconds} s.",
            retry_after=seconds,
        )

    def record_failure(self, address: IpAddress | None) -> None:
        """Note that a credential from there was wrong."""
        self._count_outcome("wrong")
        if self._max_per_minute:
            source = _group_address(address)
            owed = min(self._count_recent_failures(source) + 1, _MAX_BLOCK_MINUTES * self._max_per_minute)
            _store_bounded(self._failures, source, (owed, self._clock()))

    def record_success(self, credential: str) -> None:
        """Note that a credential is good."""
        if self._max_per_minute:
            _store_bounded(self._known_good, compute_digest(credential), None)

    def _count_recent_failures(self, source: _ClientSource) -> float:
        """Return the wrong ones that count now: they are forgotten at the rate at which they may come."""
        owed, since = self._failures.get(source, (0.0, 0.0))
        return max(0.0, owed - (self._clock() - since) * self._max_per_minute / _SECONDS_PER_MINUTE)


def _group_address(address: IpAddress | None) -> _ClientSource:
    if isinstance(address, IPv6Address):
        return IPv6Network((address, _IPV6_SITE_PREFIX), strict=False)
    return address


def _store_bounded(cache: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > _MOST:
        cache.popitem(last=False)
