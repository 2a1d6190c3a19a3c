"""Memory that was freed, and that the C library keeps for later all the same."""

from __future__ import annotations

import ctypes
import sys


def trim_heap() -> None:
    """Return freed memory to the system; does nothing where the C library is not glibc.

    glibc keeps what it was given in pieces, as weights are: of Moonshine's 115 MiB an unload gave back 30,
    and 90 with this. Source: malloc_trim(3).
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
