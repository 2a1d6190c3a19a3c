"""A thread of its own for a library that wants all of its work done by one and the same."""

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
    """A daemon thread that makes one call after the other, for whoever asks.

    Args:
        name: The thread's name.
        on_exit: Called in it before it ends; not if the program ends before.
    """

    def __init__(self, name: str, on_exit: Callable[[], object]) -> None:
        self._calls: SimpleQueue[_QueuedCall[object] | None] = SimpleQueue()
        self._lock, self._is_shut_down = threading.Lock(), False
        self._thread = threading.Thread(
            target=_run_calls, args=(self._calls, on_exit), name=name, daemon=True
        )
        self._thread.start()

    def run_call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what ``function`` returns in that thread, when its turn has come.

        Raises:
            RuntimeError: The thread has ended.
            BaseException: Whatever the call raises.
        """
        errand = _QueuedCall(lambda: function(*args, **kwargs))
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the thread has ended")
            self._calls.put(errand)  # type: ignore[arg-type]  # whose answer only this call reads
        return errand.future.result()

    def shutdown(self) -> None:
        """End the thread when it has done what it was asked to, and wait for that."""
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
        except BaseException as failure:  # noqa: BLE001  # raised again where it was asked for
            self.future.set_exception(failure)


def _run_calls(calls: SimpleQueue[_QueuedCall[object] | None], on_exit: Callable[[], object]) -> None:
    while (errand := calls.get()) is not None:
        errand.execute()
        del errand
    on_exit()
