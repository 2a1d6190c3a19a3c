"""Runs all calls of a library in one daemon thread, for libraries that are bound to a thread."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_P = ParamSpec("_P")


class DaemonExecutor:
    """A daemon thread that runs calls one after the other; any thread may submit one.

    Args:
        name: The name of the thread.
        on_exit: Called in the thread before it ends, unless the program ends first.
    """

    def __init__(self, name: str, on_exit: Callable[[], object]) -> None:
        self._calls: SimpleQueue[_QueuedCall[object] | None] = SimpleQueue()
        self._lock, self._is_shut_down = threading.Lock(), False
        self._thread = threading.Thread(
            target=_run_calls, args=(self._calls, on_exit), name=name, daemon=True
        )
        self._thread.start()

    def run_call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run ``function`` in the thread, and return its result.

        Raises:
            RuntimeError: The executor is shut down.
            BaseException: The exception of the call.
        """
        call = _QueuedCall(lambda: function(*args, **kwargs))
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the executor is shut down")
            self._calls.put(call)  # type: ignore[arg-type]  # only this call reads the result
        return call.future.result()

    def shutdown(self) -> None:
        """Finish the queued calls, and wait for the thread to end."""
        with self._lock:
            if not self._is_shut_down:
                self._is_shut_down = True
                self._calls.put(None)
        self._thread.join()


class _QueuedCall(Generic[_T]):
    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function
        self.future: Future[_T] = Future()

    def execute(self) -> None:
        try:
            self.future.set_result(self._function())
        except BaseException as failure:  # noqa: BLE001  # raised again in the calling thread
            self.future.set_exception(failure)


def _run_calls(calls: SimpleQueue[_QueuedCall[object] | None], on_exit: Callable[[], object]) -> None:
    while (call := calls.get()) is not None:
        call.execute()
        del call
    on_exit()
