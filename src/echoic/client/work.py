"""Work for an event loop in another thread."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


class Work(Generic[_T]):
    """A coroutine that is waited for in another thread, where it may be given up at any moment.

    Args:
        function: Called in the loop; returns the coroutine.
        undo: Called in the loop with what came of it, where it was given up.

    Attributes:
        answer: What comes of it.
    """

    def __init__(
        self, function: Callable[[], Coroutine[Any, Any, _T]], undo: Callable[[_T], object] = lambda _: None
    ) -> None:
        self.answer: Future[_T] = Future()
        self._function, self._undo = function, undo
        self._task: asyncio.Task[_T] | None = None
        self._is_given_up = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, unless it is given up already; to be called in the loop."""
        if not self._is_given_up:
            self._task = loop.create_task(self._function())
            self._task.add_done_callback(self._settle)

    def give_up(self) -> None:
        """End it, or undo what came of it; to be called in the loop."""
        self._is_given_up = True
        task = self._task
        if task is not None and not task.cancel() and not task.cancelled() and task.exception() is None:
            self._undo(task.result())

    def _settle(self, task: asyncio.Task[_T]) -> None:
        if task.cancelled():
            self.answer.cancel()
        elif (error := task.exception()) is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())
