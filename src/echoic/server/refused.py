"""Requests that are refused, in the log: so that an operator knows whose address to block."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from echoic.server.log import log_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.limits.addresses import IpAddress

log = logging.getLogger(__name__)

#: Lines a second: whoever is refused in a loop does not fill the disk.
_MAX_LINES_PER_SECOND: Final = 10


class RefusalLog:
    """Logs refused requests, a few of them a second.

    Args:
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._logged_lines = 0
        self._suppressed = 0

    def log_refusal(self, code: str, address: IpAddress | None) -> None:
        """Log that a request from there was refused, or count it for the next line.

        Args:
            code: Of the error that it was told.
            address: Where it came from, or None: that cannot be told.
        """
        second = int(self._clock())
        if second != self._second:
            self._second, self._logged_lines = second, 0
        if self._logged_lines >= _MAX_LINES_PER_SECOND:
            self._suppressed += 1
            return
        self._logged_lines += 1
        left_out, self._suppressed = self._suppressed, 0
        log_event(log, logging.WARNING, "request.refused", code=code, address=str(address), left_out=left_out)
