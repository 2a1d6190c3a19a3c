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


class OwnThread:
    """A daemon thread that makes one call after the other, for whoever asks.

    Args:
        name: The thread's name.
        last: Called in it before it ends; not if the program ends before.
    """

    def __init__(self, name: str, last: Callable[[], object]) -> None:
        self._errands: SimpleQueue[_Errand[object] | None] = SimpleQueue()
        self._lock, self._ended = threading.Lock(), False
        self._thread = threading.Thread(target=_work, args=(self._errands, last), name=name, daemon=True)
        self._thread.start()

    def run(self, call: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        """Return what ``call`` returns in that thread, when its turn has come.

        Raises:
            RuntimeError: The thread has ended.
            BaseException: Whatever the call raises.
        """
        errand = _Errand(lambda: call(*args, **named))
        with self._lock:
            if self._ended:
                raise RuntimeError("the thread has ended")
            self._errands.put(errand)  # type: ignore[arg-type]  # whose answer only this call reads
        return errand.answer.result()

    def end(self) -> None:
        """End the thread when it has done what it was asked to, and wait for that."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._errands.put(None)
        self._thread.join()


class _Errand(Generic[_T]):
    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self.answer: Future[_T] = Future()

    def do(self) -> None:
        try:
            self.answer.set_result(self._call())
        except BaseException as failure:  # noqa: BLE001  # raised again where it was asked for
            self.answer.set_exception(failure)


def _work(errands: SimpleQueue[_Errand[object] | None], last: Callable[[], object]) -> None:
    while (errand := errands.get()) is not None:
        errand.do()
        del errand
    last()
