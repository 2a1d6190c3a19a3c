"""How many wrong credentials are looked at, by the address that they come from.

Behind one address there may be an office, or a proxy that nobody told us of. So a credential that was good
once since the server started is always looked at, however many wrong ones come from the same address; what
waits is what was never seen before. Memory is bounded: what was longest not heard of is forgotten.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final, TypeVar

from echoic.errors import AccessRefused, ErrorCode
from echoic.limits.secret import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.limits.addresses import Address, Network

    _Source = Address | Network | None

_MINUTE: Final = 60.0
#: Addresses, and good credentials, that are remembered.
_MOST: Final = 10_000
#: Minutes after which an address is heard again, whatever it did.
_LONGEST_MINUTES: Final = 10
#: Who has one address of IPv6 has as many as a network of this prefix has.
#: Source: RFC 6177, section 2: no site gets less than a /64.
_SITE: Final = 64
_K = TypeVar("_K")
_V = TypeVar("_V")


class Throttle:
    """Counts wrong credentials.

    Args:
        per_minute: Wrong ones of one address that are looked at in a minute, and as many at once; 0: all.
        clock: Seconds of a clock that never goes back.
        count: Called with ``wrong``, or ``unheard`` for one that was not looked at.
    """

    def __init__(
        self,
        per_minute: float,
        clock: Callable[[], float] = time.monotonic,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._count = count
        self._wrong: OrderedDict[_Source, tuple[float, float]] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: Address | None, credential: str) -> None:
        """Return if a credential from there is to be looked at.

        Raises:
            AccessRefused: ``server_busy`` with ``retry_after`` in seconds: too many wrong ones came.
        """
        excess = self._owed(_source(address)) - self._per_minute + 1
        if not self._per_minute or excess <= 0 or digest_of(credential) in self._good:
            return
        self._count("unheard")
        seconds = math.ceil(excess * _MINUTE / self._per_minute)
        raise AccessRefused(
            ErrorCode.SERVER_BUSY,
            f"Too many wrong keys came from this address. Please try again in {seconds} s.",
            retry_after=seconds,
        )

    def wrong(self, address: Address | None) -> None:
        """Note that a credential from there was wrong."""
        self._count("wrong")
        if self._per_minute:
            source = _source(address)
            owed = min(self._owed(source) + 1, _LONGEST_MINUTES * self._per_minute)
            _remember(self._wrong, source, (owed, self._clock()))

    def good(self, credential: str) -> None:
        """Note that a credential is good."""
        if self._per_minute:
            _remember(self._good, digest_of(credential), None)

    def _owed(self, source: _Source) -> float:
        """Return the wrong ones that count now: they are forgotten at the rate at which they may come."""
        owed, since = self._wrong.get(source, (0.0, 0.0))
        return max(0.0, owed - (self._clock() - since) * self._per_minute / _MINUTE)


def _source(address: Address | None) -> _Source:
    if isinstance(address, IPv6Address):
        return IPv6Network((address, _SITE), strict=False)
    return address


def _remember(book: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    book[key] = value
    book.move_to_end(key)
    if len(book) > _MOST:
        book.popitem(last=False)
