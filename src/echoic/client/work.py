"""Work for an event loop in another thread."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


class LoopCall(Generic[_T]):
    """A coroutine that is waited for in another thread, where it may be given up at any moment.

    Args:
        function: Called in the loop; returns the coroutine.
        undo: Called in the loop with what came of it, where it was given up.

    Attributes:
        future: What comes of it.
    """

    def __init__(
        self, function: Callable[[], Coroutine[Any, Any, _T]], undo: Callable[[_T], object] = lambda _: None
    ) -> None:
        self.future: Future[_T] = Future()
        self._function, self._undo = function, undo
        self._task: asyncio.Task[_T] | None = None
        self._is_cancelled = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, unless it is given up already; to be called in the loop."""
        if not self._is_cancelled:
            self._task = loop.create_task(self._function())
            self._task.add_done_callback(self._set_outcome)

    def cancel(self) -> None:
        """End it, or undo what came of it; to be called in the loop."""
        self._is_cancelled = True
        task = self._task
        if task is not None and not task.cancel() and not task.cancelled() and task.exception() is None:
            self._undo(task.result())

    def _set_outcome(self, task: asyncio.Task[_T]) -> None:
        if task.cancelled():
            self.future.cancel()
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())
