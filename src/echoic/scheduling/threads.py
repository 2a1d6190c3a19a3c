"""Runs blocking and foreign calls in daemon threads, so that a hanging library blocks no loop and no exit."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")
_ItemT = TypeVar("_ItemT")
_BatchT = TypeVar("_BatchT")
_ResultT = TypeVar("_ResultT")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that foreign code raised, as a value."""

    error: BaseException


def attempt_call(call: Callable[[], _T]) -> _T | Failure:
    """Return the result of ``call``, or its exception as a ``Failure``.

    That includes ``SystemExit`` and the like: raised by a library, they would end the calling thread silently
    and leave its queue unserved.
    """
    try:
        return call()
    except BaseException as error:  # noqa: BLE001  # any exception becomes a value
        return Failure(error)


def attempt_batch(
    call: Callable[[Sequence[_ItemT]], Sequence[_T]], items: Sequence[_ItemT]
) -> list[_T | Failure]:
    """Return one result for each item: of one call with all items, or of a call for each if that fails.

    So a bad item costs the others time only.

    Args:
        call: Returns one result for each item, in order.
        items: At least one.
    """
    together = attempt_call(lambda: _call_checked(call, items))
    if not isinstance(together, Failure):
        return [*together]
    if len(items) == 1:
        return [together]
    return [result for item in items for result in attempt_batch(call, [item])]


def _call_checked(call: Callable[[Sequence[_ItemT]], Sequence[_T]], items: Sequence[_ItemT]) -> Sequence[_T]:
    results = call(items)
    if len(results) != len(items):
        raise ValueError(f"{len(results)} results for {len(items)} items")
    return results


def call_with_timeout(call: Callable[[], _T], timeout: float, thread_name: str) -> _T | Failure:
    """Return the result of ``call`` in a daemon thread; ``Failure(TimeoutError())`` if it takes too long.

    The thread of a call that takes too long is not waited for, and its result is dropped.

    Args:
        call: May block and raise.
        timeout: Seconds.
        thread_name: The thread's name.
    """
    results: queue.SimpleQueue[_T | Failure] = queue.SimpleQueue()
    threading.Thread(target=lambda: results.put(attempt_call(call)), name=thread_name, daemon=True).start()
    try:
        return results.get(timeout=timeout)
    except queue.Empty:
        return Failure(TimeoutError())


async def run_in_daemon_thread(call: Callable[[], _T], thread_name: str) -> _T:
    """Return the result of ``call`` in a daemon thread of its own.

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
    """Call ``callback`` on the loop, from another thread; do nothing if the loop is closed."""
    with contextlib.suppress(RuntimeError):  # asyncio raises it for a closed loop
        loop.call_soon_threadsafe(callback)


class BatchThread(Generic[_BatchT, _ResultT]):
    """A daemon thread that takes batches of queued jobs, runs them and delivers the results.

    Several threads may share one condition, and so one queue. A thread that hangs in ``run_batch`` is
    abandoned: another may run its batch, and its own result is dropped.

    Args:
        name: The thread's name.
        condition: Guards the queue. Notify it when a job arrives and when ``take_batch`` should end.
        take_batch: Called with the condition held. Waits on it for jobs and returns the next batch, or None
            to end the thread.
        run_batch: Returns the results; may block, must not raise.
        deliver: Called in the thread with the batch and its results; must not raise.
    """

    def __init__(
        self,
        name: str,
        condition: threading.Condition,
        take_batch: Callable[[], _BatchT | None],
        run_batch: Callable[[_BatchT], _ResultT],
        deliver: Callable[[_BatchT, _ResultT], None],
    ) -> None:
        self._condition = condition
        self._take_batch, self._run_batch, self._deliver = take_batch, run_batch, deliver
        self.batch: _BatchT | None = None
        """The batch that runs now; read it with the condition held."""
        self.started_at = 0.0
        """When the batch was taken, by ``time.monotonic``."""
        self._is_abandoned = False
        # A context of its own: the thread works for all clients, not for the one whose task creates it.
        run = contextvars.Context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end, for ``timeout`` seconds at most; return at once if it never started."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def measure_runtime(self) -> float:
        """Return for how many seconds the batch has been running; 0 while the thread waits."""
        return time.monotonic() - self.started_at if self.batch is not None else 0.0

    def abandon(self) -> _BatchT | None:
        """Return the running batch to its owner; the thread ends without delivering it.

        Call it with the condition held.
        """
        batch, self.batch, self._is_abandoned = self.batch, None, True
        return batch

    def _run(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run a batch and return whether to take another. A waiting thread holds no reference to a batch."""
        with self._condition:
            batch = self.batch = self._take_batch()
            self.started_at = time.monotonic()
        if batch is None:
            return False
        results = self._run_batch(batch)
        with self._condition:
            if self._is_abandoned:
                return False
            self.batch = None
        self._deliver(batch, results)
        return True


def trim_heap() -> None:
    """Return freed memory to the system; does nothing where the C library is not glibc.

    glibc keeps memory that was freed in small blocks, as weights are: of Moonshine's 115 MiB an unload freed
    30, and 90 with this call. Source: malloc_trim(3).
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
