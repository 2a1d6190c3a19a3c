"""Waiting for a blocking call without holding up the event loop, or the end of the program."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def run_in_daemon_thread(call: Callable[[], _T], thread_name: str) -> _T:
    """Return what ``call`` returns in a daemon thread of its own.

    An executor's threads are joined when the program ends, so a library that hangs would keep it from
    ending; a daemon thread does not.

    Args:
        call: Must not raise.
        thread_name: The thread's name.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def set_answer(result: _T) -> None:
        if not answer.done():
            answer.set_result(result)

    def run_call() -> None:
        result = call()
        call_soon_threadsafe(loop, lambda: set_answer(result))

    threading.Thread(target=run_call, name=thread_name, daemon=True).start()
    return await answer


def call_soon_threadsafe(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call ``callback`` on the loop, from another thread; not at all once the loop is closed."""
    with contextlib.suppress(RuntimeError):  # what asyncio raises for a closed loop: nobody listens there
        loop.call_soon_threadsafe(callback)


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
